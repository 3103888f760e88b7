-- SPDX-License-Identifier: Apache-2.0
--
-- What Moongate promises about hostile messages: message rules M01 to M20, answer rules R01 to R06,
-- and the classes of published vulnerabilities; and of the policies: limits R1 to R17, breakers and
-- retries B1 to B8, logs L1 to L6, all of them A1 and A2. Each id has a test whose name begins with
-- it; spec/lua/catalogue_spec.lua fails where one lacks. `on` is the folder where it must stand, as
-- for those that are about bytes on real sockets. What has `skipped` or `skipped_part` is about
-- something that is not built: its reason is printed with the tests. `pending` ones have no test
-- yet.
local NO_TLS = 'TLS is not built yet'
local NO_HTTP2 = 'HTTP/2 is not built yet'
local NO_AUTH = 'the authentication plugins are not built yet'
local NO_ADMIN = 'the admin API is not built yet'

local catalogue = {
    { id = 'M01', text = 'a parser error of any kind forwards nothing' },
    { id = 'M02', text = 'bare LF, bare CR, NUL in head, chunk line or trailer' },
    { id = 'M03', text = 'empty lines before the request line' },
    { id = 'M04', text = 'form of the request line' },
    { id = 'M05', text = 'versions' },
    { id = 'M06', text = 'methods' },
    { id = 'M07', text = 'line folding, white space before the first field' },
    { id = 'M08', text = 'empty field names' },
    { id = 'M09', text = 'field names that are no tokens, aliases' },
    { id = 'M10', text = 'bytes of field values' },
    { id = 'M11', text = 'Host' },
    { id = 'M12', text = 'Transfer-Encoding' },
    { id = 'M13', text = 'Content-Length' },
    { id = 'M14', text = 'single-valued fields' },
    { id = 'M15', text = 'chunk lines and extensions' },
    { id = 'M16', text = 'trailers' },
    { id = 'M17', text = 'bytes after Connection: close' },
    { id = 'M18', text = 'Expect' },
    { id = 'M19', text = 'forms and bytes of the target' },
    { id = 'M20', text = 'upgrades' },

    { id = 'R01', text = 'status and version of an answer' },
    { id = 'R02', text = 'Transfer-Encoding of an answer' },
    { id = 'R03', text = 'answers without a body' },
    { id = 'R04', text = 'fields and reason phrase of an answer' },
    { id = 'R05', text = 'bytes nobody asked for' },
    { id = 'R06', text = 'bodies that end early' },

    { id = 'SMG-01', text = 'own corpus of raw messages' },
    { id = 'SMG-02', text = 'CL.TE, TE.CL, TE.TE, over-long names' },
    { id = 'SMG-03', text = 'empty name or length' },
    { id = 'SMG-04', text = 'folding, NUL, bare CR and LF, chunk tricks' },
    { id = 'SMG-05', text = 'Expect games and early final answers' },
    { id = 'SMG-06', text = 'body length other than Content-Length' },
    { id = 'SMG-07', text = 'early answers, bodies nobody may send, interim storms' },
    { id = 'SMG-08', text = 'requests that plugins make' },
    { id = 'SMG-09', text = 'rewritten bodies, text before TLS',
        skipped_part = 'text before TLS: ' .. NO_TLS },
    { id = 'SMG-10', text = 'absolute form against Host' },
    { id = 'SMG-11', text = 'tunnel without a valid 101' },

    { id = 'PTH-01', text = 'bypass by encoding, host case, dot or port' },
    { id = 'PTH-02', text = 'stripped prefixes' },
    { id = 'PTH-03', text = 'raw path in a rule' },
    { id = 'PTH-04', text = '# in the target, //x as authority' },
    { id = 'PTH-05', text = 'table of encoded bytes' },
    { id = 'PTH-06', text = 'arguments and keys that are not seen' },
    { id = 'PTH-07', text = 'regular expressions and patterns that run away' },

    { id = 'HDR-01', text = 'Connection cannot strip the gateway\'s fields' },
    { id = 'HDR-02', text = 'forged forwarding and identity fields' },
    { id = 'HDR-03', text = 'only one of several values checked' },
    { id = 'HDR-04', text = 'control bytes from elsewhere' },

    { id = 'AUT-01', text = 'tricks with JWT algorithms and keys', skipped = NO_AUTH },
    { id = 'AUT-02', text = 'secrets in errors', skipped = NO_AUTH },
    { id = 'AUT-03', text = 'timing and claims', skipped = NO_AUTH },
    { id = 'AUT-04', text = 'an authentication plugin that fails', skipped = NO_AUTH },
    { id = 'AUT-05', text = 'OPTIONS, HEAD, rare methods, WebSocket', skipped = NO_AUTH },
    { id = 'AUT-06', text = 'ways around a limiter' },

    { id = 'ADM-01', text = 'default credential', skipped = NO_ADMIN },
    { id = 'ADM-02', text = 'open admin port', skipped = NO_ADMIN },
    { id = 'ADM-03', text = 'forgotten handler, rebinding, CSRF', skipped = NO_ADMIN },

    { id = 'LUA-01', text = 'state that leaks between requests or plugins' },
    { id = 'LUA-02', text = 'bytecode, unpack and rep' },

    { id = 'MEM-01', text = 'use after the end of a request' },

    { id = 'TLS-01', text = 'session resumed across sites', skipped = NO_TLS },

    { id = 'EXT-01', text = 'parsers of DNS and Redis replies' },
    { id = 'EXT-02', text = 'injection into logs and metrics, decompression bombs' },

    { id = 'H2-01', text = 'rapid reset and floods', skipped = NO_HTTP2 },

    { id = 'R1', text = 'parallel requests: exactly the quota, in both stores' },
    { id = 'R2', text = 'random decisions: core, Redis and a plain reference agree' },
    { id = 'R3', text = 'retry times to the millisecond, bounds kept and reached' },
    { id = 'R4', text = 'a denial charges no limit; one command a request' },
    { id = 'R5', text = 'slots of clients that leave and workers that die' },
    { id = 'R6', text = 'reloads and edits under load' },
    { id = 'R7', text = 'invented keys' },
    { id = 'R8', text = 'bans' },
    { id = 'R9', text = 'a Redis that hangs under load' },
    { id = 'R10', text = 'a Redis that fails in other ways under load' },
    { id = 'R11', text = 'a fleet without its Redis' },
    { id = 'R12', text = 'over-admission in mode async' },
    { id = 'R13', text = 'sentinels and clusters that change under load, TLS, ACL' },
    { id = 'R14', text = 'header fields and Retry-After' },
    { id = 'R15', text = 'shadow changes no answer' },
    { id = 'R16', text = 'keys: addresses, parts, forged fields' },
    { id = 'R17', text = 'settings of other products admit as these say' },

    { id = 'B1', text = 'breaker: every edge and class, against a model' },
    { id = 'B2', text = 'breaker: an upstream that hangs' },
    { id = 'B3', text = 'breaker: thresholds' },
    { id = 'B4', text = 'breaker: slow results, keys' },
    { id = 'B5', text = 'breaker: recovery' },
    { id = 'B6', text = 'breaker: several workers, deaths, reloads' },
    { id = 'B7', text = 'retries and targets left out' },
    { id = 'B8', text = 'breaker: by hand, shadow' },

    { id = 'L1', text = 'a log sink that is dead, slow or hostile' },
    { id = 'L2', text = 'rotation, full disk' },
    { id = 'L3', text = 'a pipe nobody reads' },
    { id = 'L4', text = 'planted secrets' },
    { id = 'L5', text = 'every outcome, injection' },
    { id = 'L6', text = 'samples, the end of a gateway or worker' },

    { id = 'A1', text = 'Lua options that fail or never end, seeded mistakes' },
    { id = 'A2', text = 'soak of all policies with faults' },
}

for _, entry in ipairs(catalogue) do
    if entry.id:match('^M%d') or entry.id:match('^R0%d') or entry.id:match('^SMG') then
        entry.on = 'spec/gateway/'
    end
end

return catalogue
