import node from "@astrojs/node";
import sentry from "@sentry/astro";
import { defineConfig } from "astro/config";

export default defineConfig({
  output: "server",
  adapter: node({ mode: "standalone" }),
  integrations: [sentry({ telemetry: false, sourcemaps: { disable: true } })],
});
