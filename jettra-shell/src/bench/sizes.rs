//! What each node says of its own size, in `GET /metrics`.

use reqwest::{Client, Method};
use serde_json::{Value, json};

use super::load::Target;

const MIB: f64 = 1024.0 * 1024.0;

/// A node's memory and disk at one moment, in bytes; 0 where it did not say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// Resident memory of the process.
    pub memory: u64,
    /// What the documents take on disk.
    pub state: u64,
    /// What the log takes on disk.
    pub log: u64,
}

impl Size {
    /// Memory, and documents and log on disk, in MiB.
    pub fn shown(&self) -> String {
        let mib = |bytes: u64| bytes as f64 / MIB;
        format!("{:.0} / {:.0} + {:.0}", mib(self.memory), mib(self.state), mib(self.log))
    }

    pub fn json(&self) -> Value {
        json!({"residentBytes": self.memory, "stateBytes": self.state, "logBytes": self.log})
    }

    fn parse(metrics: &str) -> Size {
        let figure = |name: &str| {
            let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.and_then(|value| value.trim().parse::<f64>().ok()).map_or(0, |value| value as u64)
        };
        Size {
            memory: figure("process_resident_memory_bytes"),
            state: figure("jettra_data_bytes{part=\"state\"}"),
            log: figure("jettra_data_bytes{part=\"log\"}"),
        }
    }
}

/// Asks every node.
pub async fn sizes(http: &Client, target: &Target) -> Vec<Size> {
    let mut sizes = Vec::new();
    for url in &target.urls {
        let mut url = url.clone();
        url.set_path("/metrics");
        let answer = http.execute(target.request(Method::GET, url)).await;
        let text = match answer {
            Ok(answer) if answer.status().is_success() => answer.text().await.unwrap_or_default(),
            _ => String::new(),
        };
        sizes.push(Size::parse(&text));
    }
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_from_the_metrics() {
        let metrics = "# TYPE x gauge\nprocess_resident_memory_bytes 41943040\njettra_data_bytes{part=\"log\"} 3145728\n\
                       jettra_data_bytes{part=\"state\"} 1048576\n";
        assert_eq!(Size::parse(metrics).shown(), "40 / 1 + 3");
        assert_eq!(Size::parse("process_resident_memory_bytes_max 7"), Size::default());
    }
}
