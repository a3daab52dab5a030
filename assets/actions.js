// Buttons within messages: runs once, as Gradio's js_on_load, with element and trigger.
// The server writes them (web/acts.py) and checks everything that is sent here.

document.documentElement.lang = element.querySelector("[lang]").lang;

const composer = () => document.querySelector("#composer textarea");
const spoken = (name) => JSON.parse(element.querySelector("[data-spoken]").dataset.spoken)[name];

function field(tag, className, words) {
    const made = document.createElement(tag);
    made.className = className;
    if (words) made.textContent = words;
    return made;
}

// An earlier message is changed where it stands

function edit(button) {
    const bubble = button.closest(".message") || button.parentElement, words = button.getAttribute("placeholder") || "";
    if (bubble.querySelector("form.edit")) return;
    const form = field("form", "edit"), input = field("textarea", "words"), row = field("div", "row");
    const send = field("button", "send", spoken("send")), cancel = field("button", "cancel", spoken("cancel"));
    input.value = words;
    input.rows = Math.min(8, words.split("\n").length + 1);
    input.setAttribute("aria-label", spoken("edit"));
    cancel.type = "button";
    row.append(cancel, send);
    form.append(input, field("p", "about", spoken("edit_about")), row);
    const end = () => { form.remove(); button.focus(); };
    form.addEventListener("submit", (event) => {
        event.preventDefault();
        end();
        trigger("act", { do: "edit", of: button.value, text: input.value });
    });
    cancel.addEventListener("click", end);
    input.addEventListener("keydown", (event) => {
        event.stopPropagation(); // Gradio's own keys
        if (event.key === "Escape") end();
        if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); form.requestSubmit(); }
    });
    bubble.append(form);
    input.focus();
}

// Why a reply is disliked

function why(button) {
    const box = document.createElement("dialog"), form = field("form", ""), input = field("textarea", "words");
    box.className = "ask";
    form.method = "dialog";
    input.maxLength = 500;
    input.rows = 3;
    input.placeholder = spoken("why_placeholder");
    input.setAttribute("aria-label", spoken("why"));
    const reasons = field("div", "reasons");
    for (const reason of spoken("reasons")) {
        const one = field("button", "reason", reason);
        one.type = "button";
        one.addEventListener("click", () => { input.value = reason; input.focus(); });
        reasons.append(one);
    }
    const cancel = field("button", "keep", spoken("cancel")), send = field("button", "send", spoken("send"));
    cancel.value = "";
    send.value = "yes";
    const row = field("div", "row");
    row.append(cancel, send);
    form.append(reasons, input, row);
    box.append(field("h2", "", spoken("why")), form);
    box.setAttribute("aria-label", spoken("why"));
    (element.closest(".gradio-container") || document.body).append(box);
    box.addEventListener("close", () => {
        if (box.returnValue === "yes") trigger("act", { do: "dislike", of: button.value, text: input.value });
        box.remove();
        button.focus();
    });
    box.showModal();
}

// A talk that grows, or has just grown, scrolls under a mouse that is pressing: the browser then takes button down and up
// for a click on what is around both places. It was meant for what was under the mouse when it went down.

let held = null;
const at = (event) => event.target.closest && event.target.closest("#chatbot :is(button, summary)");
document.addEventListener("mousedown", (event) => {
    held = event.button === 0 && at(event) && { pressed: at(event), x: event.clientX, y: event.clientY };
}, true);
document.addEventListener("click", (event) => {
    const { pressed, x, y } = held || {};
    held = null;
    if (!event.isTrusted || !pressed || pressed === at(event) || Math.hypot(event.clientX - x, event.clientY - y) > 4) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    pressed.click();
}, true);

document.addEventListener("click", (event) => {
    const button = event.target.closest && event.target.closest("#chatbot button.act");
    if (!button) return;
    event.preventDefault();
    event.stopPropagation();
    if (button.name === "edit") return edit(button);
    if (button.name === "dislike" && !button.classList.contains("chosen")) return why(button);
    trigger("act", { do: button.name, of: button.value });
    if (button.name === "use" && composer()) composer().focus();
}, true);

// Esc stops the reply, wherever the keys go; a menu, a dialogue or a field being edited has it first

document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.defaultPrevented || document.querySelector("dialog[open], details.more[open]")) return;
    const stop = document.querySelector("#stop");
    if (stop && stop.offsetParent && !event.target.closest("form")) stop.click();
});

// Gradio says some things in English to everyone

const escaped = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
const pattern = (said) => new RegExp(`^${said.split(/\{\w+\}/).map(escaped).join("(.+)")}$`);
const toasts = Object.entries(spoken("gradios")).map(([name, said]) => [pattern(said), spoken("toasts")[name]]);
function translate(toast) {
    const walk = document.createTreeWalker(toast, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
        const said = walk.currentNode.data.trim();
        for (const [english, ours] of said ? toasts : []) {
            const [found, ...blanks] = said.match(english) || [];
            if (found && ours !== said) walk.currentNode.data = ours.replace(/\{\w+\}/g, () => blanks.shift());
        }
    }
}

// For people who listen: Gradio labels a message with its source, which would be read in place of what it shows,
// calls the example cards a list, though they are buttons, and gives a group of choices no name

const everything = element.closest(".gradio-container") || document.body;
function mend() {
    everything.querySelectorAll("#chatbot [data-testid][aria-label*='<']").forEach((one) => one.removeAttribute("aria-label"));
    everything.querySelectorAll("#chatbot .examples[role=list]").forEach((one) => one.setAttribute("role", "group"));
    if (document.documentElement.lang !== "en") document.querySelectorAll(".toast-wrap").forEach(translate);
    document.querySelectorAll(".toast-header[role=button]").forEach((one) => { // it holds the button that closes it
        one.removeAttribute("role");
        one.removeAttribute("tabindex");
    });
    everything.querySelectorAll("fieldset:not([aria-label])").forEach((one) => {
        const words = one.querySelector("[data-testid=block-info]");
        if (words) one.setAttribute("aria-label", words.textContent.trim());
    });
}
mend();
new MutationObserver(mend).observe(document.body, { subtree: true, childList: true, attributeFilter: ["aria-label"] });
