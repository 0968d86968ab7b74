-- One URL a request, a hundred different ones of about the mean length.
local n = 0
request = function()
  n = n + 1
  local body = string.format('{"data":["https://login%d.example.com/account/%d"]}', n % 100, n % 7)
  return wrk.format("POST", "/predict", { ["Content-Type"] = "application/json" }, body)
end
done = function(summary, latency)
  local e = summary.errors
  print(string.format("RESULT %d %d %d %d %d %d %d %d", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), latency.max, e.status, e.timeout,
    e.connect + e.read + e.write))
end
