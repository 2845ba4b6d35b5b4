// Says what sentry-conventions know of attributes.
//
//   node read_conventions.mjs <folder with node_modules>
//
// Reads names, a line of JSON each; one that ends with a point stands for the names that begin with
// it. Writes for each {"type", "deprecated"}: null where the conventions do not have it.

import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";

const require = createRequire(join(resolve(process.argv[2]), "package.json"));
const { ATTRIBUTE_METADATA } = require("@sentry/conventions/attributes");

const read = (name) => {
  const known = ATTRIBUTE_METADATA[name.endsWith(".") ? `${name}<key>` : name];
  return { type: known?.type ?? null, deprecated: known?.deprecation ?? null };
};

for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(read(JSON.parse(line))));
}
