import * as Sentry from "@sentry/vue";
import { createApp } from "vue";

import App from "./App.vue";

const app = createApp(App);

Sentry.init({
  app,
  dsn: import.meta.env.VITE_SENTRY_DSN,
  // For Spotlight: its viewer passes over what has the content type that the SDK and browsers give
  // by themselves. Sentry does not.
  transportOptions: { headers: { "Content-Type": "application/x-sentry-envelope" } },
  integrations: [Sentry.browserTracingIntegration()],
  tracesSampleRate: 1.0,
  // Spotlight's viewer shows transactions, and not the streamed spans that are the default.
  traceLifecycle: import.meta.env.VITE_TRACE_LIFECYCLE,
  // The gateway is another origin: without it in this list, calls to it carry no trace.
  tracePropagationTargets: [import.meta.env.VITE_GATEWAY],
});

app.mount("#app");
