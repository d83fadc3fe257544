// <celerant-progress src="/celerant/progress/TOKEN"></celerant-progress>
//
// Shows a group's progress. It needs nothing but this file. Events: "progress" for each
// change and "end" at last, both with what the server told as `event.detail`.

// Milliseconds until a server that gave no stream is asked again, at first and at most.
const FIRST_PAUSE = 1000;
const LONGEST_PAUSE = 60_000;

const style = new CSSStyleSheet();
style.replaceSync(`
  :host { display: block; font: inherit; }
  progress { inline-size: 100%; block-size: 1rem; }
  .failed { font-weight: 600; }
`);

class CelerantProgress extends HTMLElement {
  static observedAttributes = ["src"];

  #events = null;
  #again = null;
  #pause = FIRST_PAUSE;
  #bar = document.createElement("progress");
  #text = document.createElement("span");
  #failed = document.createElement("span");

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open" });
    root.adoptedStyleSheets = [style];
    this.#failed.className = "failed";
    const told = document.createElement("div");
    // Polite: a reader says it when it has nothing else to say.
    told.setAttribute("role", "status");
    told.append(this.#text, this.#failed);
    root.append(this.#bar, told);
  }

  connectedCallback() {
    if (this.hasAttribute("done")) {
      const [done, failed] = ["done", "failed"].map((name) => Number(this.getAttribute(name)));
      const total = this.getAttribute("total");
      this.#show({ total: total === null ? null : Number(total), done, failed });
    }
    this.#follow();
  }

  disconnectedCallback() {
    this.#stop();
  }

  attributeChangedCallback() {
    if (this.isConnected) this.#follow();
  }

  #follow() {
    this.#stop();
    const src = this.getAttribute("src");
    if (!src || this.hasAttribute("over")) return;
    this.#events = new EventSource(src);
    this.#events.addEventListener("error", () => this.#lose());
    this.#events.addEventListener("progress", (event) => {
      this.#pause = FIRST_PAUSE;
      this.#hear(event);
    });
    this.#events.addEventListener("end", (event) => {
      this.#stop();
      this.#hear(event);
    });
  }

  #lose() {
    // A stream that breaks off is asked for again by the browser, but not after an answer
    // that is no stream: the server may be away.
    if (this.#events?.readyState !== EventSource.CLOSED) return;
    this.#again = setTimeout(() => this.#follow(), this.#pause);
    this.#pause = Math.min(2 * this.#pause, LONGEST_PAUSE);
  }

  #stop() {
    clearTimeout(this.#again);
    this.#events?.close();
    this.#events = null;
  }

  #hear(event) {
    const detail = JSON.parse(event.data);
    this.#show(detail);
    this.dispatchEvent(new CustomEvent(event.type, { detail, bubbles: true }));
  }

  #show({ total, done, failed }) {
    this.#bar.setAttribute("aria-label", "members done");
    if (total === null) {
      // Nobody knows how many there will be.
      this.#bar.removeAttribute("value");
      this.#text.textContent = `${done.toLocaleString()} done, and more are being sent`;
    } else {
      this.#bar.max = Math.max(total, 1);
      this.#bar.value = total === 0 ? 1 : done;
      this.#text.textContent = `${done.toLocaleString()} of ${total.toLocaleString()} done`;
    }
    if (failed) this.#text.textContent += ", ";
    this.#failed.textContent = failed ? `${failed.toLocaleString()} failed` : "";
  }
}

customElements.define("celerant-progress", CelerantProgress);
