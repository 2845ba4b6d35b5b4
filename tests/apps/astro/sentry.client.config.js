import * as Sentry from "@sentry/astro";

Sentry.init({
  dsn: import.meta.env.PUBLIC_SENTRY_DSN,
  // As in the Vue page: for Spotlight's viewer.
  transportOptions: { headers: { "Content-Type": "application/x-sentry-envelope" } },
  tunnel: "/monitoring",
  integrations: [Sentry.browserTracingIntegration()],
  tracesSampleRate: 1.0,
  tracePropagationTargets: ["https://myproject.org", /^\/api\//],
});
