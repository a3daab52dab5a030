(session) => {
    // In another site's frame a reload brings back the first address: the talk of this tab is asked for again.
    try {
        const at = new URL(location), talk = sessionStorage.getItem("nextgpt-talk");
        const [visit] = performance.getEntriesByType("navigation");
        if (talk && visit && visit.type === "reload" && !at.searchParams.has("talk")) {
            at.searchParams.set("talk", talk);
            history.replaceState(history.state, "", at);
        }
    } catch {}
    // What is written but not sent is still there after a reload; Gradio reloads the page when it lost its server.
    const composer = () => document.querySelector("#composer textarea");
    try {
        const restore = (tries) => {
            const draft = sessionStorage.getItem("nextgpt-draft"), box = composer();
            if (draft && !box && tries) return setTimeout(restore, 100, tries - 1);
            sessionStorage.removeItem("nextgpt-draft");
            if (!draft || !box || box.value) return;
            box.value = draft;
            box.dispatchEvent(new Event("input", { bubbles: true }));
        };
        restore(50);
        addEventListener("pagehide", () => {
            if (composer() && composer().value) sessionStorage.setItem("nextgpt-draft", composer().value);
        });
    } catch {}
    // "Copy" takes a message's words as they are read, not the marks that show them: Gradio's own copy comes first.
    document.addEventListener("click", (event) => {
        const button = event.target.closest && event.target.closest("#chatbot button");
        const row = button && button.closest(".message-buttons-left, .message-buttons-right, .message-buttons");
        const words = row && row.parentElement.closest("[class*=message-row]") || row && row.previousElementSibling;
        if (!words || row.querySelector("button") !== button || !navigator.clipboard) return;
        const text = [...words.querySelectorAll(".message-content")].map((one) => one.innerText.trim()).join("\n");
        setTimeout(() => navigator.clipboard.writeText(text).catch(() => {}), 50);
    });
    return [session];
}
