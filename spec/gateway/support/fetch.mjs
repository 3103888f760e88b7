// SPDX-License-Identifier: Apache-2.0
//
// node fetch.mjs URL...: fetches each URL with Node's own client, all at the same time, and prints
// a line for each, in order: status, octets and SHA-256 of the body.
//
//   --put FILE URL    sends the file instead, in chunks, and fails unless it was taken
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';

async function describe(response) {
    const hash = createHash('sha256');
    let size = 0;
    for await (const part of response.body ?? []) {
        hash.update(part);
        size += part.length;
    }
    return `${response.status} ${size} ${hash.digest('hex')}`;
}

async function main(words) {
    if (words[0] === '--put') {
        const body = createReadStream(words[1]);
        const response = await fetch(words[2], { method: 'PUT', body, duplex: 'half' });
        return [response.ok ? 'taken' : process.exit(1)];
    }
    return Promise.all(words.map(async (url) => describe(await fetch(url))));
}

console.log((await main(process.argv.slice(2))).join('\n'));
