// Says what Sentry's JavaScript SDK makes of trace contexts.
//
//   node read_context.mjs <folder with node_modules>
//
// Reads lines of JSON, {"sentry_trace": text, "baggage": [text]}, as a service gets the two
// headers, and writes for each what the SDK continues: {"trace_id", "parent_span_id", "sampled",
// "dsc"}. Header values are Latin-1, as Node has them.

import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";

const require = createRequire(join(resolve(process.argv[2]), "package.json"));
const { continueTrace, getCurrentScope } = require("@sentry/core");

const read = ({ sentry_trace, baggage }) =>
  // As Node joins lines.
  continueTrace({ sentryTrace: sentry_trace, baggage: baggage.length > 0 ? baggage.join(", ") : undefined }, () => {
    const { traceId, parentSpanId, sampled, dsc } = getCurrentScope().getPropagationContext();
    return { trace_id: traceId, parent_span_id: parentSpanId ?? null, sampled: sampled ?? null, dsc: dsc ?? {} };
  });

for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(read(JSON.parse(line))));
}
