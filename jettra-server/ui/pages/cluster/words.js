// The cluster's states in words, in one place: the same word and colour wherever a member is shown.
//
//   standing(node, cluster)   { word, kind, text }: leader, follower, joining, silent, paused, candidate
//   votes(cluster)            { voters, active, majority, tolerance }, as the node counts them
//   verdict(cluster)          { kind, title, text, next }: computed from the picture, where there is no doctor

export function standing(node) {
  if (node.status === "INACTIVE") return { word: "silent", kind: "bad", text: "not heard, or stopped" };
  if (node.status === "PAUSED") return { word: "paused", kind: "warn", text: "votes, and is not elected" };
  if (node.role === "LEADER") return { word: "leader", kind: "accent", text: "takes every write" };
  if (!node.voter) return { word: "joining", kind: "warn", text: "catches up, then votes" };
  if (node.role === "CANDIDATE") return { word: "candidate", kind: "warn", text: "asks for votes" };
  return { word: "follower", kind: "good", text: "replicates and votes" };
}

export function votes(cluster) {
  const { voters = 0, active = 0, majority = 1, failureTolerance = 0 } = cluster.quorum ?? {};
  return { voters, active, majority, tolerance: failureTolerance };
}

const names = (nodes) => nodes.map((n) => n.id).join(", ");

export function verdict(cluster) {
  if (!cluster.enabled) {
    return { kind: "good", title: "Standalone: one node, nothing replicated", text: "It can lose none.",
      next: "For a cluster, set \"distributed\": true in its config.json and restart it." };
  }
  if ((cluster.nodes ?? []).length === 0) {
    return { kind: "warn", title: "This node waits to be registered", text: "It belongs to no cluster yet and holds no data.",
      next: `On a member's page choose “Add a node” and give ${location.origin}.` };
  }
  const { voters, active, majority, tolerance } = votes(cluster);
  const counted = `${active} of ${voters} voters`;
  const silent = cluster.nodes.filter((n) => n.status === "INACTIVE");
  const joining = cluster.nodes.filter((n) => !n.voter && n.status !== "INACTIVE");
  const paused = cluster.nodes.filter((n) => n.status === "PAUSED");
  if (!cluster.leaderId) {
    return active < majority
      ? { kind: "bad", title: `No leader: ${counted}, ${majority} are needed`, text: "Nothing can be written. Reads with consistency=local go on.",
        next: silent.length ? `Start ${names(silent)} again.` : "Start the nodes that are down." }
      : { kind: "bad", title: "No leader: an election is under way", text: "Writes wait for it; it takes about a second.", next: null };
  }
  const can = tolerance === 0 ? "can lose none" : `can lose ${tolerance}`;
  if (silent.length) {
    return { kind: active < majority ? "bad" : "warn", title: `${names(silent)} ${silent.length === 1 ? "is" : "are"} silent: ${counted}, ${can}`,
      text: active >= majority ? "Reading and writing go on." : "Nothing can be written.",
      next: `Start ${names(silent)} again; remove a node only if it never comes back.` };
  }
  if (joining.length) {
    return { kind: "warn", title: `${names(joining)} ${joining.length === 1 ? "is" : "are"} joining: ${counted}, ${can}`,
      text: "Reading and writing go on.", next: "Wait: a node that joins votes as soon as it has caught up." };
  }
  if (paused.length) {
    return { kind: "warn", title: `${names(paused)} ${paused.length === 1 ? "is" : "are"} paused: ${counted}, ${can}`,
      text: "It votes, and is not elected.", next: `Resume ${names(paused)} when the work on it is done.` };
  }
  const thin = voters === 1 ? "Add two nodes to survive the loss of one." : voters === 2 ? "Add a third node to survive the loss of one." : null;
  return { kind: thin ? "warn" : "good", title: `Healthy: ${counted}, ${can}`, text: `${cluster.leaderId} leads since term ${cluster.term}.`, next: thin };
}
