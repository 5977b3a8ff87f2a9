-- For wrk: PUTs a file under a new name with every request.
--   wrk ... -s put.lua URL -- SIZE
-- At the end it prints one line: RESULT and a JSON object.

local threads = 0

function setup(thread)
  thread:set("id", threads)
  threads = threads + 1
end

function init(args)
  local size = tonumber(args[1])
  count = 0
  head = "PUT /" .. id .. "-"
  rest = " HTTP/1.1\r\nHost: " .. wrk.host .. "\r\nContent-Length: " .. size .. "\r\n\r\n" .. string.rep("x", size)
end

function request()
  count = count + 1
  return head .. count .. rest
end

function done(summary, latency)
  local e = summary.errors
  io.write(string.format(
    'RESULT {"requests": %d, "micros": %d, "refused": %d, "broken": %d, "p50": %d, "p90": %d, "p99": %d, "p999": %d, "max": %d}\n',
    summary.requests, summary.duration, e.status, e.connect + e.read + e.write + e.timeout,
    latency:percentile(50), latency:percentile(90), latency:percentile(99), latency:percentile(99.9), latency.max))
end
