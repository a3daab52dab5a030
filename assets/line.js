() => {
    // Gradio's server ends the page's line (the event stream of /queue/data) when nothing is under way, and the page
    // opens it again for the next event. An event that is sent before the page has noticed the end would be answered
    // on a line that nobody reads: here a line with answers due on it goes on instead of ending.
    const fetched = window.fetch.bind(window), due = new Set(), answered = new Set();
    let asking = 0;
    const moved = (id, from, to) => { if (!from.delete(id)) to.add(id); };
    const told = (message) => {
        if (!/"(process_completed|close_stream)"/.test(message)) return {};
        try { return JSON.parse(message.replace(/^data:/, "")); } catch { return {}; }
    };
    const asked = async (...request) => {
        asking += 1;
        try {
            const response = await fetched(...request);
            const { event_id: id } = await response.clone().json().catch(() => ({}));
            if (id) moved(id, answered, due);
            return response;
        } finally {
            asking -= 1;
        }
    };
    const lasting = async (...request) => {
        const first = await fetched(...request);
        if (!first.ok || !first.body) return first;
        const encoder = new TextEncoder();
        let reader = first.body.getReader(), decoder = new TextDecoder(), rest = "", goesOn = false;
        const pull = async (page) => {
            while (true) {
                const { done, value } = await reader.read();
                if (done && !goesOn) return page.close();
                if (done) {
                    const next = await fetched(...request);
                    if (!next.ok || !next.body) return page.close();
                    reader = next.body.getReader();
                    decoder = new TextDecoder();
                    rest = "";
                    goesOn = false;
                    continue;
                }
                const messages = (rest + decoder.decode(value, { stream: true })).split("\n\n");
                rest = messages.pop();
                const passed = messages.filter((message) => {
                    const { msg, event_id: id } = told(message);
                    if (msg === "process_completed") moved(id, due, answered);
                    if (msg !== "close_stream" || !(due.size || asking)) return true;
                    goesOn = true;
                });
                if (passed.length) return page.enqueue(encoder.encode(passed.map((one) => `${one}\n\n`).join("")));
            }
        };
        const stream = new ReadableStream({ pull, cancel: (why) => reader.cancel(why) });
        return new Response(stream, { status: first.status, headers: first.headers });
    };
    window.fetch = (resource, options) => {
        const at = new URL(resource instanceof Request ? resource.url : resource, location).pathname;
        const how = { "/queue/join": asked, "/queue/data": lasting }[at.match(/\/queue\/\w+$/)?.[0]] || fetched;
        return how(resource, options);
    };
}
