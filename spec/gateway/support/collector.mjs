// SPDX-License-Identifier: Apache-2.0
//
// node collector.mjs FILE [PORT]: takes log lines by HTTP (on that port), TCP and UDP on free ports of
// 127.0.0.1, and by TLS where COLLECTOR_CERT and COLLECTOR_KEY name the files for that, prints their numbers as JSON, and appends each line to FILE, after the way it came and a tab. PUT /status
// with a number in its body: answer batches with that status from now on, and take none of them.
import { appendFileSync, openSync, readFileSync } from 'node:fs';
import { createServer as createHttp } from 'node:http';
import { createServer as createHttps } from 'node:https';
import { createServer as createTcp } from 'node:net';
import { createServer as createTls } from 'node:tls';
import { createSocket } from 'node:dgram';
import { createInterface } from 'node:readline';
import { gunzipSync } from 'node:zlib';

const file = openSync(process.argv[2], 'a');
let status = 200;

function keep(way, lines) {
    appendFileSync(file, lines.map((line) => `${way}\t${line}\n`).join(''));
}

function linesOf(request, text) {
    if (request.headers['content-type'].startsWith('application/json')) {
        const value = JSON.parse(text);
        return (Array.isArray(value) ? value : [value]).map((one) => JSON.stringify(one));
    }
    return text.split('\n').slice(0, -1);
}

async function take(request, response) {
    const parts = [];
    for await (const part of request) {
        parts.push(part);
    }
    let body = Buffer.concat(parts);
    if (request.headers['content-encoding'] === 'gzip') {
        body = gunzipSync(body);
    }
    if (request.url === '/status') {
        status = Number(body.toString());
    } else if (status === 200) {
        const { authorization } = request.headers;
        keep(authorization ? `http ${authorization}` : 'http', linesOf(request, body.toString()));
    }
    response.writeHead(request.url === '/status' ? 200 : status).end();
}

function onRequest(request, response) {
    take(request, response).catch(() => response.writeHead(400).end());
}

function onConnection(way) {
    return (socket) => {
        socket.on('error', () => {});
        createInterface({ input: socket }).on('line', (line) => keep(way, [line]));
    };
}

const http = createHttp(onRequest).listen(Number(process.argv[3] ?? 0), '127.0.0.1');
const tcp = createTcp(onConnection('tcp')).listen(0, '127.0.0.1');
const secure = process.env.COLLECTOR_CERT
    ? { cert: readFileSync(process.env.COLLECTOR_CERT), key: readFileSync(process.env.COLLECTOR_KEY) }
    : {};
const https = createHttps(secure, onRequest).listen(0, '127.0.0.1');
const tls = createTls(secure, onConnection('tls')).listen(0, '127.0.0.1');
const udp = createSocket('udp4').on('message', (message) => keep('udp', [message.toString()]));
udp.bind(0, '127.0.0.1', () => {
    console.log(JSON.stringify({ http: http.address().port, tcp: tcp.address().port,
        udp: udp.address().port, https: https.address().port, tls: tls.address().port }));
});
