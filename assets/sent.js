(message, session) => {
    // The words of a message leave the composer as it is sent, and what is written after them stays, however long the
    // server takes.
    const { text, files } = message, box = document.querySelector("#composer textarea");
    if (box && box.value.startsWith(text)) {
        box.value = box.value.slice(text.length);
        box.dispatchEvent(new Event("input", { bubbles: true }));
    }
    // Enter pressed twice sends what is left in the composer, perhaps files that the server has not taken out yet, and
    // may reach the server first: here it is known to be no message.
    const before = box?.sent ?? { at: -Infinity, paths: [] }, paths = files.map((file) => file.path);
    const again = !text && performance.now() - before.at < 1000 && paths.every((path) => before.paths.includes(path));
    if (box && !again) box.sent = { at: performance.now(), paths };
    return [again ? null : { text, files }, session];
}
