// Sentry's SDK for Vue in the place of the one for browsers: with an app.

import { createApp, h } from "vue";
import * as Sentry from "@sentry/vue";

export * from "@sentry/vue";

export function init(options) {
  const app = createApp({ render: () => h("h1", "page") });
  const client = Sentry.init({ app, ...options });
  app.mount(document.body.appendChild(document.createElement("main")));
  return client;
}
