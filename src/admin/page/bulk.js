// Owns orders about many files: how far they are, and what is said when somebody stops them. Invariant: only what was
// answered is counted as done.

import * as format from "./format.js";
import { call } from "./api.js";

/**
 * Orders about all files behind `path`, for `ask`: each goes on where the one before it reached its limit. `choice` says which
 * files; `what` is what has become of them, and `after()` is called when it is over.
 */
export function all(path, choice, what, after) {
  return counted(what, after, async (count, { signal, progress }) => {
    let more = "";
    do {
      const answer = await call("POST", `${path}?${choice}${more}`, undefined, signal);
      count.done += answer.files;
      count.left += answer.left_files ?? 0;
      count.why ||= answer.left?.[0]?.reason ?? "";
      more = answer.after ? `&after=${answer.after}&up_to=${answer.up_to}` : "";
      if (more !== "") progress(`${format.files(count.done)} so far …`);
    } while (more !== "");
  });
}

/** One order for each of these files, for `ask`. A file that somebody else has dealt with meanwhile is left out. */
export function each(files, method, path, what, after) {
  return counted(what, after, async (count, { signal, progress }) => {
    for (const { number } of files) {
      if (files.length > 1) progress(`${format.count(count.done)} of ${format.count(files.length)} …`);
      try {
        await call(method, path(number), undefined, signal);
        count.done += 1;
      } catch (failure) {
        if (failure.status === 404 && files.length > 1) count.left += 1;
        else throw failure;
      }
    }
  });
}

function counted(what, after, work) {
  const count = { done: 0, left: 0, why: "" };
  const told = () => `${format.files(count.done)} ${count.done === 1 ? "is" : "are"} ${what}`;
  return {
    run: async (_, progress) => {
      Object.assign(count, { done: 0, left: 0, why: "" });
      try {
        await work(count, progress);
      } catch (failure) {
        if (count.done > 0) failure.message = `${told()}; then: ${failure.message}`;
        throw failure;
      } finally {
        after();
      }
      const left = count.left === 0 ? "" : ` ${format.files(count.left)} ${count.left === 1 ? "was" : "were"} left alone${count.why ? `: ${count.why}` : ""}.`;
      return `${told()}.${left}`;
    },
    stopped: () => `You stopped waiting for the balancer. ${told()}; the order under way may have been taken all the same.`,
  };
}
