-- SPDX-License-Identifier: Apache-2.0
-- Every name that rate-limit puts on the wire: header fields and problem types. The drafts behind
-- them still move; a later one is a new value of the option `headers` and a new table here.
local M = {}

-- Limit, remaining, and seconds until there is more.
M.triples = {
    ['x-ratelimit'] = { limit = 'X-RateLimit-Limit', remaining = 'X-RateLimit-Remaining',
        reset = 'X-RateLimit-Reset' },
    legacy = { limit = 'RateLimit-Limit', remaining = 'RateLimit-Remaining',
        reset = 'RateLimit-Reset' },
}

--- Fields of one limit, for the set x-ratelimit-each: `minute` as `X-RateLimit-Limit-Minute`.
-- @tparam string name of the limit
-- @treturn table { limit =, remaining = }
function M.each(name)
    local shown = name:sub(1, 1):upper() .. name:sub(2)
    return { limit = 'X-RateLimit-Limit-' .. shown, remaining = 'X-RateLimit-Remaining-' .. shown }
end

-- draft-ietf-httpapi-ratelimit-headers-11: lists of RFC 9651.
M['ietf-11'] = {
    policy = 'RateLimit-Policy', limit = 'RateLimit', quota = 'q', window = 'w', unit = 'qu',
    remaining = 'r', reset = 't', concurrency = 'concurrent-requests',
}

-- To the upstream, where the option on_exceed is `mark`: names of the limits.
M.exceeded = 'X-RateLimit-Exceeded'

M.retry_after = 'Retry-After' -- seconds (RFC 9110, 10.2.3)

-- RFC 9457; the types are those of draft-ietf-httpapi-ratelimit-headers-11.
M.problem_content_type = 'application/problem+json'
M.problems = {
    exceeded = {
        type = 'https://iana.org/assignments/http-problem-types#quota-exceeded',
        title = 'Request cannot be satisfied as assigned quota has been exceeded',
    },
    banned = {
        type = 'https://iana.org/assignments/http-problem-types#abnormal-usage-detected',
        title = 'Request not satisfied due to detection of abnormal request pattern',
    },
    store = {
        type = 'https://iana.org/assignments/http-problem-types#temporary-reduced-capacity',
        title = 'Request cannot be satisfied due to temporary server capacity constraints',
    },
    key_missing = { type = 'about:blank', title = 'Forbidden' },
}
M.violated_policies, M.retry_member = 'violated-policies', 'retry_after'

return M
