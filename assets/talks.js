// The list of talks: runs once, as Gradio's js_on_load, with element, trigger and watch.
// The server renders the list; this acts on what is pressed and keeps the page's address in step.

const PHONE = 768, ROOMY = 1100; // CSS pixels; the first as in Gradio's side bar
const nav = () => element.querySelector("nav.talks");
const spoken = (name) => JSON.parse(nav().dataset.spoken)[name];
const bar = element.closest(".sidebar");
const say = (text) => { const said = nav().querySelector(".said"); said.textContent = text; };
const kept = (store, key, value) => { // browsers may forbid both stores
    try {
        if (value === undefined) return store().getItem(key);
        value === null ? store().removeItem(key) : store().setItem(key, value);
    } catch { return null; }
};

// Side bar: open where there is room, unless it was closed by hand

function toggle(open) {
    if (bar && bar.classList.contains("open") !== open) bar.querySelector(".toggle-button").click();
}
if (bar) {
    bar.querySelector(".toggle-button").addEventListener("click", (event) => {
        if (event.isTrusted) kept(() => localStorage, "nextgpt-talks", bar.classList.contains("open") ? "shut" : "open");
    });
    const roomy = window.innerWidth >= ROOMY;
    setTimeout(() => toggle(roomy && kept(() => localStorage, "nextgpt-talks") !== "shut"), 0);
}

// After every change of the list

let titling = null; // the title that is being written: its talk's id, its form and its field
function refresh() {
    if (!nav()) return; // not told yet
    const id = nav().dataset.opened, at = new URL(location);
    if ((at.searchParams.get("talk") || "") !== id) {
        id ? at.searchParams.set("talk", id) : at.searchParams.delete("talk");
        history.replaceState(history.state, "", at);
    }
    kept(() => sessionStorage, "nextgpt-talk", id || null);
    const today = new Date().toDateString();
    for (const time of element.querySelectorAll("time")) {
        const when = new Date(time.dateTime);
        const day = { day: "numeric", month: "short" };
        if (when.getFullYear() !== new Date().getFullYear()) day.year = "numeric";
        const clock = { hour: "2-digit", minute: "2-digit" };
        time.textContent = when.toLocaleString([], when.toDateString() === today ? clock : day);
        time.title = when.toLocaleString();
    }
    if (titling && !titling.form.isConnected) entitle(titling);
}
watch("value", refresh);
refresh();

// Questions

function ask(title) { // resolves to whether to delete
    const box = document.createElement("dialog");
    box.className = "ask";
    const heading = document.createElement("h2"), about = document.createElement("p");
    heading.textContent = spoken("sure");
    about.textContent = spoken("sure_about").replace("{title}", title);
    heading.id = "ask-heading";
    box.setAttribute("aria-labelledby", heading.id);
    const form = document.createElement("form");
    form.method = "dialog";
    for (const [name, value] of [["keep", ""], ["delete", "yes"]]) {
        const button = document.createElement("button");
        button.textContent = spoken(name);
        button.value = value;
        button.className = name;
        button.autofocus = name === "keep";
        form.append(button);
    }
    box.append(heading, about, form);
    (element.closest(".gradio-container") || document.body).append(box);
    box.showModal();
    return new Promise((done) => box.addEventListener("close", () => {
        done(box.returnValue === "yes");
        box.remove();
    }));
}

// A change of the list draws it anew, place by place, and the field with it: refresh puts it back where its talk stands

function entitle({ id, form, input }) {
    const item = [...element.querySelectorAll("[data-id]")].find((one) => one.dataset.id === id);
    if (!item) return void (titling = null);
    item.querySelector(".pick").hidden = true;
    item.prepend(form);
    input.focus();
}

function rename(item) {
    const form = document.createElement("form"), input = document.createElement("input"), { id } = item.dataset;
    input.value = item.querySelector(".title").textContent;
    input.maxLength = 60;
    input.dir = "auto";
    input.setAttribute("aria-label", spoken("new_title"));
    form.className = "retitle";
    form.append(input);
    const end = (save) => {
        if (titling?.form !== form) return;
        titling = null;
        form.parentElement.querySelector(".pick").hidden = false;
        form.remove();
        if (save) trigger("rename", { id, title: input.value });
    };
    form.addEventListener("submit", (event) => { event.preventDefault(); end(true); });
    input.addEventListener("keydown", (event) => { if (event.key === "Escape") { event.stopPropagation(); end(false); } });
    // Later: a field that is taken away with its place in the list is left, too, and comes back.
    input.addEventListener("blur", () => setTimeout(() => form.isConnected && document.activeElement !== input && end(false)));
    entitle(titling = { id, form, input });
    input.select();
}

async function link(token) {
    const address = new URL(`shared/${token}`, document.baseURI).href.split("?")[0];
    try {
        await navigator.clipboard.writeText(address);
        say(`${spoken("link_copied")} ${address}`);
    } catch { say(`${spoken("link_is")} ${address}`); }
}

const actions = {
    pick: (item) => {
        trigger("pick", { id: item.dataset.id });
        if (window.innerWidth <= PHONE) toggle(false);
    },
    rename,
    remove: async (item) => {
        const { id } = item.dataset; // by the time it is answered, another talk may stand there
        if (await ask(item.querySelector(".title").textContent)) trigger("remove", { id });
    },
    publish: (item) => trigger("publish", { id: item.dataset.id }),
    unpublish: (item) => trigger("unpublish", { id: item.dataset.id }),
    link: (item, button) => link(button.dataset.token),
};
element.addEventListener("click", (event) => {
    const pressed = event.target.closest("[data-do], .menu a");
    if (!pressed) return;
    const menu = pressed.closest("details");
    if (menu) menu.open = false;
    if (pressed.dataset.do) actions[pressed.dataset.do](pressed.closest("[data-id]"), pressed);
});

// Menus: one at a time, closed by Esc and by a press elsewhere

const shut = (but) => element.querySelectorAll("details[open]").forEach((one) => { if (one !== but) one.open = false; });
document.addEventListener("click", (event) => shut(event.target.closest && event.target.closest("details.more")));
element.addEventListener("keydown", (event) => {
    const menu = event.target.closest("details[open]");
    if (event.key === "Escape" && menu) { menu.open = false; menu.querySelector("summary").focus(); }
    if ((event.key === "Enter" || event.key === " ") && event.target.matches(".take")) {
        event.preventDefault();
        event.target.querySelector("input").click();
    }
});

// A saved talk is opened

element.addEventListener("change", async (event) => {
    const file = event.target.matches("input[type=file]") && event.target.files[0];
    if (!file) return;
    event.target.value = "";
    say(spoken("importing"));
    let answer = {};
    try {
        const name = encodeURIComponent(file.name);
        const headers = { "Content-Type": "application/zip" };
        answer = await (await fetch(`talks/import?name=${name}`, { method: "POST", headers, body: file })).json();
    } catch { answer = { error: spoken("failed_request") }; }
    say(answer.error || "");
    if (answer.id) trigger("pick", { id: answer.id });
});

// Gradio's bin above the talk deletes it: it asks first

let sure = false;
document.addEventListener("click", async (event) => {
    const bin = event.target.closest && event.target.closest("#chatbot .icon-button-wrapper.top-panel button");
    if (!bin || sure || !nav().dataset.opened) return;
    event.stopPropagation();
    event.preventDefault();
    if (!(await ask(nav().dataset.title))) return;
    sure = true;
    bin.click();
    sure = false;
}, true);
