import * as Sentry from "@sentry/astro";

Sentry.init({
  dsn: process.env.SENTRY_DSN,
  // As in the page's: for Spotlight's viewer.
  transportOptions: { headers: { "Content-Type": "application/x-sentry-envelope" } },
  tracesSampleRate: 1.0,
});
