// A photo from the camera as an attachment: runs once, as Gradio's js_on_load, with element.
// The button is there only where the browser has a camera and may use it (https, or this machine).

const button = element.querySelector("button.camera"), spoken = button.dataset;

async function hasCamera() {
    if (!navigator.mediaDevices || !window.isSecureContext) return false;
    try { return (await navigator.mediaDevices.enumerateDevices()).some((one) => one.kind === "videoinput"); } catch { return false; }
}

function attach(file) {
    const input = document.querySelector("#composer input[type=file]"), files = new DataTransfer();
    files.items.add(file);
    input.files = files.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
    document.querySelector("#composer textarea").focus();
}

async function photograph() {
    const box = document.createElement("dialog");
    box.className = "ask camera";
    box.setAttribute("aria-label", spoken.title);
    const heading = document.createElement("h2"), said = document.createElement("p"), view = document.createElement("video");
    const form = document.createElement("form"), cancel = document.createElement("button"), take = document.createElement("button");
    heading.textContent = spoken.title;
    said.textContent = spoken.waiting;
    view.autoplay = view.playsInline = view.muted = true;
    view.hidden = take.disabled = true;
    form.method = "dialog";
    cancel.textContent = spoken.cancel;
    cancel.value = "";
    take.textContent = spoken.take;
    take.value = "yes";
    take.className = "send";
    form.append(cancel, take);
    box.append(heading, said, view, form);
    (element.closest(".gradio-container") || document.body).append(box);
    let stream = null;
    box.addEventListener("close", () => {
        if (box.returnValue === "yes" && stream) {
            const canvas = document.createElement("canvas");
            canvas.width = view.videoWidth;
            canvas.height = view.videoHeight;
            canvas.getContext("2d").drawImage(view, 0, 0);
            canvas.toBlob((blob) => blob && attach(new File([blob], "photo.jpg", { type: "image/jpeg" })), "image/jpeg", 0.92);
        }
        if (stream) stream.getTracks().forEach((track) => track.stop()); // the camera's light goes out
        stream = null;
        box.remove();
        button.focus();
    });
    box.showModal();
    try {
        const given = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
        if (!box.open) return given.getTracks().forEach((track) => track.stop());
        stream = view.srcObject = given;
        await view.play();
        said.hidden = true;
        view.hidden = take.disabled = false;
        take.focus();
    } catch { said.textContent = spoken.refused; }
}

button.addEventListener("click", photograph);
hasCamera().then((there) => { button.hidden = !there; });
