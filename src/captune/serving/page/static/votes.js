// Blind votes between two models: order, counts and the confidence interval.

const Z = 1.959964;

/** Return {share, low, high}: Wilson's 95 % interval of `wins` out of `total`; null without votes. */
export function wilson(wins, total) {
  if (!total) return null;
  const share = wins / total;
  const scale = 1 + (Z * Z) / total;
  const centre = (share + (Z * Z) / (2 * total)) / scale;
  const half = (Z / scale) * Math.sqrt((share * (1 - share)) / total + (Z * Z) / (4 * total * total));
  return { share, low: Math.max(0, centre - half), high: Math.min(1, centre + half) };
}

/** Draw whether model B is shown before model A. */
export function drawSwap() {
  return (crypto.getRandomValues(new Uint8Array(1))[0] & 1) === 1;
}

/** Count votes "a", "b" and "tie"; the win rate is over votes that are not ties. */
export function countVotes(votes) {
  const counts = { a: 0, b: 0, tie: 0 };
  for (const vote of votes) counts[vote]++;
  return { ...counts, ...{ rate: wilson(counts.a, counts.a + counts.b) } };
}

const percent = (value) => `${Math.round(100 * value)} %`;

/** Return the result of the votes in sentences. */
export function describeVotes(votes, nameA, nameB) {
  const { a, b, tie, rate } = countVotes(votes);
  const ties = tie ? ` ${tie} ${tie === 1 ? "vote was a tie" : "votes were ties"} and count for neither.` : "";
  if (!rate) return `No vote preferred a model.${ties}`;
  const found = `${nameA} won ${a} of ${a + b} decided votes: ${percent(rate.share)} (95 % interval ${percent(rate.low)} to ${percent(rate.high)}).`;
  const verdict =
    rate.low > 0.5
      ? `${nameA} is preferred.`
      : rate.high < 0.5
        ? `${nameB} is preferred.`
        : "The interval contains 50 %: these votes do not tell the models apart.";
  return `${found}${ties} ${verdict}`;
}
