// Passkeys: keeping one, signing in with one, and signing what people sign. No page has script of its own; a form says
// with an attribute what it is for, and this file does the rest:
//
//   <form data-passkey="register">                 a field `title`; makes a passkey for who is signed in
//   <form data-passkey="sign-in">                  a field `next`, where to go then
//   <form data-passkey="approval">                 `ref` (namespace/name@3), `tier`, `reason`, `shown` (the page's
//                                                  SHA-256 as it was read); `decision`: approve or reject
//   <form data-passkey="break-glass">              `ref`, `tier`, `reason`, `shown`
//   <form data-passkey="review">                   `digest` (of the break-glass), `verdict`, `reason`
//   <form data-passkey="decision">                 `kind`, `subject`, `reason`; `days` and `details` (JSON) may be missing
//   <form data-passkey="person">                   `name`, `reason`; `change` where several changes wait
//
// Every form holds the session's `csrf` but for "sign-in". The button that was pressed counts as a field, so that one
// form can have <button name="decision" value="approve"> and <button name="decision" value="reject">. What came of it
// stands in the form's element with `data-passkey-said` (give it role="status"), else it is announced. After that
// `data-passkey-next` of the form is opened, or the answer's own next page; with neither this page is loaded anew.
// A page loads this with <script src="{{ static('passkey.js') }}" defer></script> in its `scripts` block, and shows such
// a form only to whom `accounts.signatures.passkey_of(desk)` finds a passkey for; to others it shows the command.
(() => {
  "use strict";
  const bytes = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (one) => one.charCodeAt(0));
  const text = (buffer) =>
    btoa(String.fromCharCode(...new Uint8Array(buffer))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

  const say = (form, words, wrong = false) => {
    const place = form.querySelector("[data-passkey-said]") || document.getElementById("said");
    if (!place) return;
    place.textContent = words;
    place.classList.toggle("bad", wrong);
  };

  const send = async (path, fields) => {
    const answer = await fetch(path, {
      method: "POST",
      body: new URLSearchParams(fields),
      credentials: "same-origin",
      redirect: "error",
      headers: { Accept: "application/json" },
    });
    const said = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Error([said.detail || `the server answered ${answer.status}`, said.next_step].filter(Boolean).join(". "));
    return said;
  };

  const named = (list) => (list || []).map((one) => ({ ...one, id: bytes(one.id) }));

  const made = async (asked) => {
    const options = asked.publicKey;
    const found = await navigator.credentials.create({
      publicKey: {
        ...options,
        challenge: bytes(options.challenge),
        user: { ...options.user, id: bytes(options.user.id) },
        excludeCredentials: named(options.excludeCredentials),
      },
    });
    const response = {
      clientDataJSON: text(found.response.clientDataJSON),
      attestationObject: text(found.response.attestationObject),
    };
    return { id: asked.id, answer: JSON.stringify({ id: found.id, rawId: text(found.rawId), type: found.type, response }) };
  };

  const signed = async (asked) => {
    const options = asked.publicKey;
    const found = await navigator.credentials.get({
      publicKey: { ...options, challenge: bytes(options.challenge), allowCredentials: named(options.allowCredentials) },
    });
    return {
      id: asked.id,
      credential: found.id,
      authenticator_data: text(found.response.authenticatorData),
      client_data: text(found.response.clientDataJSON),
      signature: text(found.response.signature),
    };
  };

  const done = {
    register: async (fields) => send("/account/passkeys", { ...fields, ...(await made(await send("/account/passkeys/new", fields))) }),
    "sign-in": async (fields) => send("/sign-in/passkey", { ...fields, ...(await signed(await send("/sign-in/passkey/new", {}))) }),
  };
  const sign = async (what, fields) =>
    send("/sign", { csrf: fields.csrf, ...(await signed(await send(`/sign/${encodeURIComponent(what)}/new`, fields))) });

  const inWords = (problem) => {
    if (problem.name === "NotAllowedError") return "Nothing was signed: it was called off, took too long, or no passkey of this site is here.";
    if (problem.name === "InvalidStateError") return "This passkey is known here already.";
    if (problem.name === "SecurityError") return "Passkeys work only under the site's own name: compare the address above with public_url.";
    return problem.message;
  };

  const run = async (form, button) => {
    const what = form.dataset.passkey;
    const fields = Object.fromEntries([...new FormData(form, button)].filter(([, value]) => typeof value === "string"));
    const buttons = [...form.querySelectorAll("button")];
    buttons.forEach((one) => (one.disabled = true));
    say(form, "Your passkey is asked…");
    try {
      const answer = await (done[what] ? done[what](fields) : sign(what, fields));
      say(form, answer.said);
      location.assign(form.dataset.passkeyNext || answer.next || location.href);
    } catch (problem) {
      say(form, inWords(problem), true);
      buttons.forEach((one) => (one.disabled = false));
    }
  };

  if (!window.PublicKeyCredential) {
    for (const form of document.querySelectorAll("form[data-passkey]")) {
      form.querySelectorAll("button").forEach((one) => (one.disabled = true));
      say(form, "This browser makes no passkeys here: it has none, or the page was not opened by https.", true);
    }
    return;
  }
  document.addEventListener("submit", (event) => {
    if (!event.target.matches("form[data-passkey]")) return;
    event.preventDefault();
    run(event.target, event.submitter);
  });
})();
