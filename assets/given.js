(given, composer) => {
    // What the server gives comes before what is written by now, and among the files that are attached by now.
    const there = new Set(composer.files.map((file) => file.path));
    const files = [...composer.files, ...given.files.filter((file) => !there.has(file.path))];
    return [{ text: [given.text, composer.text].filter(Boolean).join("\n"), files }];
}
