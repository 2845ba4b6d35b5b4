// A service in Node with Sentry's SDK (instrument.mjs). It prints its port, and says what headers of
// the trace it was called with. A request with `?next=<address>` calls that one in turn.
//
//   node --import instrument.mjs service.mjs ORIGIN

import { createServer } from "node:http";

const origin = process.argv[2];

const server = createServer(async (request, response) => {
  // As a service writes it that has never heard of Sentry.
  response.setHeader("access-control-allow-origin", origin);
  response.setHeader("access-control-allow-headers", "content-type");
  response.setHeader("access-control-allow-methods", "PUT");
  if (request.method === "OPTIONS") {
    response.writeHead(204).end();
    return;
  }
  const next = new URL(request.url, "http://localhost").searchParams.get("next");
  const told = { "sentry-trace": request.headers["sentry-trace"], baggage: request.headers.baggage };
  if (next) {
    told.next = await (await fetch(next, { method: "PUT" })).json();
  }
  response.setHeader("content-type", "application/json");
  response.end(JSON.stringify(told));
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
