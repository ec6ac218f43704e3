// What pages gain where scripts run: copying, local times, colours, keys, the palette. Reading and forms need none of it.
(() => {
  "use strict";
  const root = document.documentElement;
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const say = (words) => {
    const place = document.getElementById("said");
    if (place) place.textContent = words;
  };

  // -- copying ---------------------------------------------------------------------------------------
  const copyOld = (text) => {
    const area = document.createElement("textarea"); // plain http has no clipboard API
    area.value = text;
    area.className = "offstage";
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  };
  const copy = async (button) => {
    const text = button.dataset.copy;
    let done = true;
    try {
      if (navigator.clipboard) await navigator.clipboard.writeText(text);
      else done = copyOld(text);
    } catch {
      done = copyOld(text);
    }
    say(done ? "Copied." : "Could not copy; select the text instead.");
    if (!done) return;
    button.classList.add("done");
    setTimeout(() => button.classList.remove("done"), 1200);
  };

  // -- times: UTC stands in the page, the reader's own time is put after it -----------------------------
  const local = (time) => {
    if (time.dataset.localised) return;
    time.dataset.localised = "yes";
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.getTime()) || at.getTimezoneOffset() === 0) return;
    const said = new Intl.DateTimeFormat(undefined, {
      dateStyle: "medium", timeStyle: "short",
    }).format(at);
    const place = document.createElement("span");
    place.className = "local";
    place.textContent = `${said} here`;
    time.after(place);
  };

  // -- colours ---------------------------------------------------------------------------------------
  const dark = () =>
    root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const turn = () => {
    root.dataset.theme = dark() ? "light" : "dark";
    localStorage.setItem("tidegate-theme", root.dataset.theme);
    say(`${root.dataset.theme} colours`);
  };

  // -- the palette: a list that the server wrote, narrowed by what is typed -------------------------------
  const palette = document.getElementById("palette");
  const wanted = palette && palette.querySelector("input");
  const choices = palette ? all("li", palette) : [];
  const shown = () => choices.filter((choice) => !choice.hidden);
  const choose = (choice) => {
    choices.forEach((one) => one.classList.toggle("chosen", one === choice));
    if (!choice) return wanted.removeAttribute("aria-activedescendant");
    wanted.setAttribute("aria-activedescendant", choice.id);
    choice.scrollIntoView({ block: "nearest" });
  };
  const narrow = () => {
    const words = wanted.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const choice of choices) {
      const text = choice.textContent.toLowerCase();
      choice.hidden = !choice.dataset.always && !words.every((word) => text.includes(word));
      const search = choice.querySelector("[data-search]");
      if (search) {
        choice.hidden = !words.length;
        search.querySelector("b").textContent = wanted.value;
      }
    }
    choose(shown()[0]);
  };
  const open = () => {
    if (!palette || palette.open) return;
    wanted.value = "";
    narrow();
    palette.showModal();
    wanted.focus();
  };
  const go = (choice) => {
    if (!choice) return;
    const link = choice.querySelector("a");
    const search = link.dataset.search;
    location.href = search ? `${search}?q=${encodeURIComponent(wanted.value)}` : link.href;
  };
  const move = (step) => {
    const list = shown();
    const at = list.findIndex((one) => one.classList.contains("chosen"));
    choose(list[(at + step + list.length) % list.length]);
  };
  if (palette) {
    wanted.addEventListener("input", narrow);
    wanted.addEventListener("keydown", (event) => {
      if (event.key === "ArrowDown") move(1);
      else if (event.key === "ArrowUp") move(-1);
      else if (event.key === "Enter") go(shown().find((one) => one.classList.contains("chosen")));
      else return;
      event.preventDefault();
    });
    palette.addEventListener("click", (event) => {
      if (event.target === palette) palette.close();
      const link = event.target.closest && event.target.closest("a[data-search]");
      if (link) {
        event.preventDefault();
        go(link.closest("li"));
      }
    });
  }

  // -- keys and clicks, in one place ---------------------------------------------------------------------
  const typing = (where) => where.closest && where.closest("input, textarea, select, [contenteditable]");
  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
      event.preventDefault();
      open();
    } else if (event.key === "/" && !typing(event.target) && !event.ctrlKey && !event.metaKey && !event.altKey) {
      const field = document.querySelector("[data-find]");
      if (!field) return;
      event.preventDefault();
      field.focus();
      field.select();
    }
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest && event.target.closest("button");
    if (!button) return;
    if (button.dataset.copy !== undefined) copy(button);
    if (button.dataset.turn !== undefined) turn();
    if (button.dataset.palette !== undefined) open();
    if (button.dataset.print !== undefined) window.print();
  });
  document.addEventListener("submit", (event) => {
    const button = event.submitter || event.target.querySelector("button[type=submit]");
    const leaves = event.target.method === "post" && !event.target.dataset.passkey && !event.target.dataset.stays;
    if (button && leaves && !event.defaultPrevented) button.setAttribute("aria-busy", "true"); // a second press is refused
  });
  addEventListener("pageshow", () => all("[aria-busy]").forEach((button) => button.removeAttribute("aria-busy")));
  const ready = (within) => all("time[datetime]", within).forEach(local);
  ready(document);
  document.addEventListener("htmx:load", (event) => ready(event.target));
})();
