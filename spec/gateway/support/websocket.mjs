// SPDX-License-Identifier: Apache-2.0
//
// WebSockets with the ws library (Debian's node-ws).
//
// node websocket.mjs has               exit code 0 where the library is installed
// node websocket.mjs serve             echoes messages; prints its port
// node websocket.mjs ask URL COUNT     sends COUNT messages of many sizes, as text and binary, many
//                                      at a time, and compares each with what comes back; then a
//                                      ping, and a close with a code and a reason
import { createRequire } from 'node:module';
import { randomBytes } from 'node:crypto';

const require = createRequire(import.meta.url);
const AHEAD = 8; // messages under way
const CLOSE_CODE = 4321;

function serve({ WebSocketServer }) {
    const server = new WebSocketServer({ host: '127.0.0.1', port: 0, perMessageDeflate: true });
    server.on('listening', () => console.log(server.address().port));
    server.on('connection', (socket) => {
        socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }));
    });
}

// Sizes on both sides of what changes the frame's head, and some large ones.
function message(index) {
    const sizes = [0, 1, 125, 126, 127, 65535, 65536, 65537, 300000];
    const size = sizes[index % sizes.length];
    const octets = randomBytes(Math.ceil(size / 2));
    return index % 2 ? octets.toString('hex').slice(0, size) : octets;
}

function fail(why) {
    console.error(why);
    process.exit(1);
}

function same(sent, got, isBinary) {
    return typeof sent === 'string' ? !isBinary && got.toString() === sent
        : isBinary && got.equals(sent);
}

function ask({ WebSocket }, url, count) {
    const socket = new WebSocket(url, { perMessageDeflate: true });
    const sent = [];
    let made = 0, seen = 0, pongs = 0;
    const sendMore = () => {
        while (made < count && sent.length < AHEAD) {
            sent.push(message(made++));
            socket.send(sent[sent.length - 1]);
        }
    };
    socket.on('error', (error) => fail(error.message));
    socket.on('open', sendMore);
    socket.on('message', (data, isBinary) => {
        if (!same(sent.shift(), data, isBinary)) {
            fail(`message ${seen} is another one`);
        }
        seen++;
        if (seen === count) {
            socket.ping('still there?');
        }
        sendMore();
    });
    socket.on('pong', (data) => {
        pongs += data.toString() === 'still there?';
        socket.close(CLOSE_CODE, 'enough');
    });
    socket.on('close', (code, reason) => {
        console.log(`${seen} messages, ${pongs} pong, closed with ${code} ${reason}`);
    });
}

const [verb, url, count] = process.argv.slice(2);
const library = require('/usr/share/nodejs/ws');
if (verb === 'serve') {
    serve(library);
} else if (verb === 'ask') {
    ask(library, url, Number(count));
}
