// Sentry's SDK for Node, as its documentation sets it up: loaded before anything else, by
// `node --import`. SDKS names the folder with node_modules.

import { createRequire } from "node:module";
import { join } from "node:path";

const Sentry = createRequire(join(process.env.SDKS, "package.json"))("@sentry/node");
Sentry.init({ dsn: process.env.SENTRY_DSN, tracesSampleRate: 1.0 });
