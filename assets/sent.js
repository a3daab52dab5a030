(message, session) => {
    // The words of a message leave the composer as it is sent, and what is written after them stays, however long the
    // server takes.
    const { text, files } = message, box = document.querySelector("#composer textarea");
    if (box && box.value.startsWith(text)) {
        box.value = box.value.slice(text.length);
        box.dispatchEvent(new Event("input", { bubbles: true }));
    }
    return [{ text, files }, session];
}
