// A service whose CORS is answered by a library from npm. It prints its port, and says which trace
// it was called with.
//
//   node service.mjs <folder with node_modules> LIBRARY ORIGIN NAMES
//
// LIBRARY is cors or hapi, ORIGIN who is let in, and NAMES the request headers that it may send: a
// list, or * for whatever is asked for.

import { createServer } from "node:http";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";

const [tools, library, origin, list] = process.argv.slice(2);
const require = createRequire(join(resolve(tools), "package.json"));
const names = list === "*" ? undefined : list.split(",");
const trace = (headers) => ({ "sentry-trace": headers["sentry-trace"], baggage: headers.baggage });

const libraries = {
  async cors() {
    const answer = require("cors")({ origin: [origin], methods: "PUT", allowedHeaders: names, credentials: true });
    const server = createServer((request, response) =>
      answer(request, response, () => {
        response.setHeader("content-type", "application/json");
        response.end(JSON.stringify(trace(request.headers)));
      }),
    );
    await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
    return server.address().port;
  },
  async hapi() {
    const server = require("@hapi/hapi").server({ host: "127.0.0.1", port: 0 });
    // It has no word for whatever is asked for.
    const cors = { origin: [origin], headers: names ?? ["*"], credentials: true };
    server.route({ method: "PUT", path: "/api", options: { cors }, handler: (request) => trace(request.headers) });
    await server.start();
    return server.info.port;
  },
};
console.log(await libraries[library]());
