// The cluster's states in words, in one place: the same word and colour wherever a member is shown.
//
//   standing(node, cluster)   { word, kind, text }
//   votes(cluster)            { voters, active, majority, failureTolerance }, as the node counts
//   verdict(cluster)          { kind, title, text, next }

export function standing(node) {
  if (node.status === "INACTIVE") return { word: "silent", kind: "bad", text: "not heard, or stopped" };
  if (node.status === "PAUSED") return { word: "paused", kind: "warn", text: "is not elected" };
  if (node.role === "LEADER") return { word: "leader", kind: "accent", text: "takes every write" };
  if (node.role === "REPLICA") return { word: "replica", kind: "good", text: "serves reads, never votes" };
  if (!node.voter) return { word: "joining", kind: "warn", text: "catches up, then votes" };
  if (node.role === "CANDIDATE") return { word: "candidate", kind: "warn", text: "asks for votes" };
  return { word: "follower", kind: "good", text: "replicates and votes" };
}

export const votes = (cluster) => ({ voters: 0, active: 0, majority: 1, failureTolerance: 0, ...cluster.quorum });

const names = (nodes) => nodes.map((n) => n.id).join(", ");

export function verdict(cluster) {
  const said = (kind, title, text = "", next = null) => ({ kind, title, text, next });
  if (!cluster.enabled) {
    return said("good", "Standalone: one node, nothing replicated", "It can lose none.", "For a cluster, set \"distributed\": true in its config.json and restart it.");
  }
  if ((cluster.nodes ?? []).length === 0) {
    return said("warn", "This node waits to be registered", "", `On a member's page choose “Add a node” and give ${location.origin}.`);
  }
  const { voters, active, majority, failureTolerance: tolerance } = votes(cluster);
  const counted = `${active} of ${voters} voters`;
  if (!cluster.leaderId) return said("bad", active < majority ? `No leader: ${counted}, ${majority} are needed` : "No leader: an election is under way");
  const can = tolerance === 0 ? "can lose none" : `can lose ${tolerance}`;
  const are = (kind, nodes, what) => said(kind, `${names(nodes)} ${nodes.length === 1 ? "is" : "are"} ${what}: ${counted}, ${can}`);
  const those = (fits) => cluster.nodes.filter(fits);
  const silent = those((n) => n.status === "INACTIVE");
  if (silent.length) return are("warn", silent, "silent");
  const joining = those((n) => !n.voter && n.role !== "REPLICA");
  if (joining.length) return are("warn", joining, "joining");
  const paused = those((n) => n.status === "PAUSED");
  if (paused.length) return are("warn", paused, "paused");
  const thin = voters < 3 ? `Add ${voters === 1 ? "two nodes" : "a third node"} to survive the loss of one.` : null;
  return said(thin ? "warn" : "good", `Healthy: ${counted}, ${can}`, `${cluster.leaderId} leads since term ${cluster.term}.`, thin);
}
