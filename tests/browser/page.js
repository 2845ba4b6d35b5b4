// A page with Sentry's browser SDK, as its documentation sets it up. The query says what it does:
//
//   dsn          where the SDK reports
//   tunnel       the path that it reports to instead
//   lifecycle    static or stream, for an SDK that knows both; else its own default
//   api          a URL to fetch, and to send the trace to, as often as it is there; without any the
//                page only loads
//   credentials  of that fetch: omit unless it says otherwise
//   header       the name of a header of its own that it has
//   baggage      what the page itself has in its header `baggage`
//
// What came of each fetch is then in `window.outcomes`.

import * as Sentry from "sdk";

const asked = new URLSearchParams(location.search);
const apis = asked.getAll("api");
const header = asked.get("header");
const baggage = asked.get("baggage");

Sentry.init({
  dsn: asked.get("dsn"),
  tunnel: asked.get("tunnel") ?? undefined,
  ...(asked.has("lifecycle") && { traceLifecycle: asked.get("lifecycle") }),
  integrations: [Sentry.browserTracingIntegration()],
  tracesSampleRate: 1.0,
  tracePropagationTargets: apis,
});

async function call(api) {
  try {
    const response = await fetch(api, {
      method: "PUT",
      credentials: asked.get("credentials") ?? "omit",
      headers: { ...(header && { [header]: "1" }), ...(baggage && { baggage }) },
    });
    return {
      status: response.status,
      sentry_trace: response.headers.get("sentry-trace"),
      baggage: response.headers.get("baggage"),
      body: await response.text(),
    };
  } catch (error) {
    return { error: String(error) };
  }
}

const outcomes = await Promise.all(apis.map(call));
Sentry.getRootSpan(Sentry.getActiveSpan()).end();
await Sentry.flush(10_000);
window.outcomes = outcomes;
