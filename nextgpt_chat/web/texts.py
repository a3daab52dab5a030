"""Every sentence of the page itself, in English; assets/languages has them in others, and those of errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..serving import talk_page


class Texts:
    """The sentences in one language. What a translation leaves out stays English.

    Raises ValueError where ``translated`` has something that the page never says.
    """

    title = "NExT-GPT chat"
    tagline = "Words, pictures, sounds and clips, in and out."
    message = "Message"
    talk = "Talk"
    placeholder = "Write, attach, drop or record"
    empty_talk = "### What shall we make?\nAsk for a picture, a sound or a clip; or send one and ask about it."
    loading = "Loading {name} … {seconds:.0f} s. You can write already; the reply comes when the model is there."
    failed_to_load = "The model could not be loaded: {message}"
    fault = "Something went wrong on the server and the talk is as it was. Try again; the server's log says more."

    reading = "Thinking …"
    waiting_model = "The model is still loading …"
    waiting_next = "Waiting: one reply is made before yours …"
    waiting_many = "Waiting: {ahead} replies are made before yours …"
    waiting_about = "About {seconds} s."
    making = {"image": "Painting a picture", "audio": "Making a sound", "video": "Filming a clip"}
    step = "step {step} of {steps}"
    starting = "starting"
    preview = "preview"
    stopped = "Stopped."
    stopped_early = "Stopped before the reply began; your message is back in the box."
    made_beforehand = "This answer was made beforehand, by this model. Press Retry to have one made now."
    no_reply = "The model had nothing to say. Try other words, or Retry."
    nouns = {"image": "picture", "audio": "sound", "video": "clip"}
    generated = {"image": "AI-generated picture", "audio": "AI-generated sound", "video": "AI-generated clip"}
    seed_is = "seed {seed}"
    whole_picture = "The whole picture, in a tab of its own"
    save = "Save"
    save_medium = {
        "image": "Save this picture as a file",
        "audio": "Save this sound as a file",
        "video": "Save this clip as a file",
    }
    edit = "Edit"
    edit_about = "Change this message; what follows it is replaced"
    send = "Send"
    cancel = "Cancel"
    good = "Good"
    bad = "Bad"
    like = "This is a good reply"
    dislike = "This is a bad reply"
    why = "What is wrong with this reply?"
    why_placeholder = "In your own words, if you like"
    reasons = ["Not what I asked for", "Wrong picture, sound or clip", "Looks or sounds bad", "Untrue", "Offensive"]
    use = "Use"
    use_about = {
        "image": "Attach this picture to your next message",
        "audio": "Attach this sound to your next message",
        "video": "Attach this clip to your next message",
    }
    details = "Details"
    again = "Make it again:"
    again_seed = "another seed"
    again_steps = "twice the steps"
    again_settings = "my settings now"
    again_caption = "from the caption, to compare"
    again_signal = "from the signal tokens, to compare"
    compare = "Compare"
    compare_caption = "the caption beside the signal tokens, same seed"
    compare_settings = "my settings now beside these"
    made_again = "made again"
    by_caption = "made from the caption, to compare"
    facts = talk_page.FACTS

    photo = "Photo"
    photo_about = "Take a photo with the camera and attach it"
    photo_title = "A photo for your message"
    photo_take = "Take the photo"
    photo_waiting = "Waiting for the camera. Your browser asks whether this page may use it …"
    photo_refused = "The camera cannot be used: it is switched off, in use, or this page may not have it."

    stop = "Stop"
    settings = "Settings"
    reply_with = "Reply with"
    auto = "Auto"
    words = "Words"
    picture = "Picture"
    sound = "Sound"
    clip = "Clip"
    pictures = "Pictures"
    sounds = "Sounds"
    clips = "Clips"
    random_seed = "Random seed"
    seed = "Seed"
    temperature = "Temperature"
    top_p = "Top-p"
    most_tokens = "Most tokens"
    steps = "Steps"
    guidance = "Guidance"
    seconds = "Seconds"
    frames = "Frames"
    conditioning = "Conditioning"
    conditioning_about = "What the picture, sound and clip makers see"
    by_signal = "Signal tokens (the paper's way)"
    by_words = "Caption (for comparison)"
    defaults = "Back to the checkpoint's own values"
    footer = "AI-generated, may be wrong or offend. Talks are kept on this server, for this browser only. {licence}"
    footer_not_kept = "AI-generated, may be wrong or offend. Nothing is kept when you close the page. {licence}"
    licence = "Weights have licences of their own: see the checkpoint's README."
    weights = "Weights: {licence}"

    talks = "Talks"
    new_talk = "New talk"
    search = "Search your talks"
    no_talks = "Your talks will be listed here."
    nothing_found = "No talk has all of these words."
    untitled = "Untitled"
    more = "More about “{title}”"
    rename = "Rename"
    save_zip = "Save as ZIP"
    save_page = "Save as web page"
    share = "Share by link"
    unshare = "Stop sharing"
    copy_link = "Copy the link"
    shared = "Shared"
    delete = "Delete"
    import_talk = "Open a saved talk"
    importing = "Reading the file …"
    link_copied = "The link is copied: who has it can read this talk."
    link_is = "Who has this link can read the talk:"
    sure = "Delete this talk?"
    sure_about = "“{title}” and its pictures, sounds and clips cannot be brought back."
    keep = "Keep it"
    new_title = "New title"
    failed_request = "The server could not be reached. Try again."
    not_kept = "Talks are not kept for this browser. Allow cookies for this page and reload it."
    not_a_zip = "This is not a saved talk. Choose a ZIP file that was saved here."
    not_here = "There is nothing here: it was deleted, or it belongs to somebody else."
    keeping = "Talks are kept on this server until you delete them; only this browser finds them again."
    quota = (
        "Pictures, sounds and clips of all users may take {quota} GB together; beyond that, those of the talks unused "
        "for longest are removed. The words stay."
    )
    age = "Those of talks unused for {days} days are removed, too."

    exported = talk_page.ENGLISH

    toasts = {
        "warning": "Warning",
        "error": "Error",
        "info": "Info",
        "lost": "Connection Lost",
        "reconnecting": "Connection to the server was lost. Attempting reconnection...",
        "too_large": "File(s) exceed the maximum allowed size of {limit}: {files}",
    }
    """Gradio's own words, which it says in English: assets/actions.js puts the others in their place."""

    told: Mapping[str, str] = {}
    """What comes from below the page, errors and notices: the English sentence → its translation, both as templates.
    English needs none. See :func:`.told.told`."""

    def __init__(self, language: str = "en", translated: Mapping[str, Any] | None = None) -> None:
        self.language = language
        for name, said in (translated or {}).items():
            if name not in ENGLISH_NAMES:
                raise ValueError(f"The language {language} translates {name!r}, which the page never says.")
            setattr(self, name, said)

    def all(self) -> dict[str, Any]:
        """Every sentence by its name."""
        return {name: getattr(self, name) for name in ENGLISH_NAMES}


ENGLISH_NAMES = tuple(name for name in vars(Texts) if not name.startswith("_") and name != "all")
