//! What machine a figure was measured on, as far as /proc and /sys tell. No names or addresses.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostFacts {
    pub processor: String,
    pub cores: usize,
    pub memory_mib: u64,
    pub kernel: String,
    /// Frequency governor of the first core, where there is one.
    pub governor: String,
    pub hypervisor: bool,
}

impl HostFacts {
    pub fn collect() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let cpu_info = read("/proc/cpuinfo");
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let memory_kib = field(&read("/proc/meminfo"), "MemTotal")
            .and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok())
            .unwrap_or(0);
        HostFacts {
            processor: field(&cpu_info, "model name").unwrap_or_default(),
            // Of the machine, not only those that this process is pinned to.
            cores: cpu_info.lines().filter(|line| line.starts_with("processor")).count(),
            memory_mib: memory_kib / 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            governor: read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").trim().to_owned(),
            hypervisor: field(&cpu_info, "flags").is_some_and(|flags| flags.contains("hypervisor")),
        }
    }

    pub fn describe(&self) -> String {
        let mut text = format!(
            "{}, {} cores, {} MiB, Linux {}",
            self.processor, self.cores, self.memory_mib, self.kernel
        );
        if !self.governor.is_empty() {
            text += &format!(", governor {}", self.governor);
        }
        if self.hypervisor {
            text += ", virtual machine";
        }
        text
    }
}
