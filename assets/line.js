() => {
    // Gradio's server ends the page's line (the event stream of /queue/data) when nothing is under way, and the page
    // opens it again for the next event. An event that is sent before the page has noticed the end would be answered
    // on a line that nobody reads: here a line with answers due on it goes on instead of ending.
    //
    // The words of a message leave the composer (sent.js), those of an edit their form, before the server has them: they
    // go back into the composer where the server never began on them, or the page goes away before it is known to have.
    const fetched = window.fetch.bind(window), asking = new Set();
    const due = new Map(), answered = new Map(); // by the event's id: what was said, and whether it went well
    const told = (message) => {
        if (!/"(process_completed|close_stream)"/.test(message)) return {};
        try { return JSON.parse(message.replace(/^data:/, "")); } catch { return {}; }
    };
    const saidBy = (options) => {
        try {
            const { data: [message], event_data: pressed } = JSON.parse(options.body);
            return { words: (pressed?.do === "edit" ? pressed.text : message?.text) ?? "" };
        } catch { return { words: "" }; }
    };
    const giveBack = (said) => {
        const box = document.querySelector("#composer textarea"), { words } = said;
        said.words = "";
        if (!box || !words) return;
        box.value = [words, box.value].filter(Boolean).join("\n");
        box.dispatchEvent(new Event("input", { bubbles: true }));
    };
    const ended = (said, well) => { if (!well) giveBack(said); };
    const asked = async (resource, options) => {
        const said = saidBy(options);
        asking.add(said);
        try {
            const response = await fetched(resource, options);
            const { event_id: id } = await response.clone().json().catch(() => ({}));
            if (!id) giveBack(said);
            else if (!answered.has(id)) due.set(id, said);
            else ended(said, answered.get(id));
            answered.delete(id);
            return response;
        } catch (error) {
            giveBack(said);
            throw error;
        } finally {
            asking.delete(said);
        }
    };
    const heard = (message) => { // the server is at work on an event: what was said is in its hands
        if (!message.includes('"process_generating"')) return;
        for (const [id, said] of due) if (said.words && message.includes(`"${id}"`)) said.words = "";
    };
    addEventListener("pagehide", () => [...due.values(), ...asking].forEach(giveBack), true); // before load.js keeps it
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
                    const { msg, event_id: id, success } = told(message);
                    heard(message);
                    if (msg === "process_completed" && !due.has(id)) answered.set(id, success);
                    else if (msg === "process_completed") ended(due.get(id), success);
                    due.delete(id);
                    if (msg !== "close_stream" || !(due.size || asking.size)) return true;
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
