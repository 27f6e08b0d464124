// Watches a run with somebody else's client: node watch.js CLIENT URL
//
// It prints each event's data on a line, and `end` once the client has stopped by itself.

const [client, url] = process.argv.slice(2);

function show(data) {
  if (data) process.stdout.write(`${data}\n`);
}

async function withEventSource() {
  const { EventSource } = await import('eventsource');
  const source = new EventSource(url);
  source.addEventListener('message', (event) => show(event.data));
  await new Promise((resolve) => {
    source.addEventListener('error', () => {
      // It comes back by itself, until an answer such as 204 closes it.
      if (source.readyState === source.CLOSED) resolve();
    });
  });
}

async function withFetchEventSource() {
  // The package is made for browsers, and asks their page whether it is visible.
  globalThis.window ??= globalThis;
  globalThis.document ??= {
    hidden: false,
    addEventListener() {},
    removeEventListener() {},
  };
  const { fetchEventSource } = await import('@microsoft/fetch-event-source');
  await fetchEventSource(url, {
    openWhenHidden: true,
    onmessage: (event) => show(event.data),
    // Without it, an answer that is no stream (204 at the end) counts as a failure.
    onopen: async () => {},
  });
}

await (client === 'eventsource' ? withEventSource() : withFetchEventSource());
process.stdout.write('end\n');
