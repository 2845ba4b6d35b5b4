# A service whose CORS is answered by rack-cors. ORIGIN is who is let in, and NAMES the request headers that it may send: a
# list, or * for whatever is asked for.
#
#   ORIGIN=https://page.example NAMES=x-tenant puma --bind tcp://127.0.0.1:0 service.ru

require "json"
require "rack/cors"

use Rack::Cors do
  allow do
    origins ENV.fetch("ORIGIN")
    names = ENV.fetch("NAMES")
    resource "*", methods: [:put], credentials: true, headers: names == "*" ? :any : names.split(",")
  end
end

run lambda { |environment|
  trace = { "sentry-trace" => environment["HTTP_SENTRY_TRACE"], "baggage" => environment["HTTP_BAGGAGE"] }
  [200, { "Content-Type" => "application/json" }, [JSON.generate(trace)]]
}
