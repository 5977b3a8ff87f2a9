// Owns nothing but the wiring: what comes from the balancer goes to the parts that show it.

import { $, announce, copy } from "./dom.js";
import { follow } from "./api.js";
import { showDead } from "./dead.js";
import { heardOfDead, showNotice } from "./events.js";
import { showFleet } from "./fleet.js";
import { showNothingToSee, showOverview, showSilence } from "./overview.js";
import { showServers } from "./servers.js";
import { known, may, stillKnown } from "./session.js";
import { showWaiting } from "./waiting.js";
import "./upload.js";

$("copy-listen").addEventListener("click", () => copy($("listen").textContent));
await known();
if (may("read")) follow({
  state(data) {
    showOverview(data);
    // One text: another one would take its place before it is read out.
    const told = [showServers(data.servers), showFleet(data.fleet)].filter(Boolean).join(". ");
    if (told) announce(told);
    showDead(data.overview.queue.dead, heardOfDead());
    showWaiting(data.overview.queue.files);
  },
  notice: showNotice,
  lost: stillKnown,
  silence(seconds) {
    const before = $("live").dataset.state;
    if (!showSilence(seconds) || (before === "connecting" && seconds === null)) return;
    announce(seconds === null ? "The balancer answers again." : "The balancer does not answer; what is shown is stale.");
  },
});
else showNothingToSee();
