-- A policy in a few lines: answers GET /hello by itself. Change the text, then run
--
--     build/release/moongate reload -c conf/moongate.yml
--
-- and the next request sees it. `config` says what the configuration may give: anything else there
-- is an error with its line and column.
local plugin = { PRIORITY = 1000, VERSION = '1.0.0', config = {
    greeting = { type = 'string', default = 'Hello' } } }

-- Runs when the route is known, before an upstream is chosen. Each request has a coroutine of its
-- own, so code here may wait for other services without holding anybody up.
function plugin:access(conf)
    local name = moongate.request.get_query_arg('name') or 'you'
    return moongate.response.exit(200, {
        message = ('%s, %s!'):format(conf.greeting, name),
    })
end

return plugin
