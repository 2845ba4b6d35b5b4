# The microservice of the scene: a Rack app with Debian's Sentry SDK, 5.3.0. That one is of before `baggage`: it continues
# `sentry-trace`, and its envelopes have no dynamic sampling context.
#
#   puma --bind tcp://127.0.0.1:8082 config.ru

require "json"
require "rack" # Before the SDK, which looks for it.
require "sentry-ruby"

Sentry.init do |config|
  config.dsn = ENV["SENTRY_DSN"]
  config.traces_sample_rate = 1.0
  # The scene ends as soon as the trace is whole; a thread of the SDK's would send it later.
  config.background_worker_threads = 0
  # This version puts an empty line between a transaction and a report of what was discarded, and Spotlight takes no such
  # envelope.
  config.send_client_reports = false
end

use Sentry::Rack::CaptureExceptions

run lambda { |_environment|
  sleep 0.01 # Stands for the work of a real service.
  [200, { "Content-Type" => "application/json" }, [JSON.generate(stock: { "1" => 7, "2" => 0 })]]
}
