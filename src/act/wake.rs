//! Switches hosts on: a Wake-on-LAN magic packet, or a command on the hecate host (IPMI, Redfish, a smart plug).
//!
//! Nothing answers a magic packet, and a command's success only says that somebody took the order: whether the host is on
//! is seen later. A command's arguments may be secrets, so what it prints is shown without them.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::UdpSocket;
use tokio::process::{Child, Command};

use crate::clients::ssh::summary;
use crate::config::Wake;
use crate::plan::step::Outcome;

/// A packet is sent so often: there is no answer, and a switch port that has just come up loses the first.
const PACKETS: u32 = 3;
/// Between two packets.
const PACKET_INTERVAL: Duration = Duration::from_millis(100);
/// The most that is kept of what a command prints; the rest is read and thrown away.
const OUTPUT_BYTES_MAX: u64 = 4096;
/// A command is ended so long before its step's deadline, so that it can still be said why.
const COMMAND_RESERVE: Duration = Duration::from_secs(2);
/// What a command that has ended still has to say is in its pipes by then.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// Shorter arguments are no secrets, and hiding them would make every message unreadable.
const SECRET_CHARS_MIN: usize = 4;

/// Switches a host on by its method.
pub async fn wake(method: &Wake, limit: Duration) -> Outcome {
    match method {
        Wake::WakeOnLan { mac, broadcast } => match send_packets(mac, *broadcast).await {
            Ok(()) => Outcome::Tried,
            Err(error) => Outcome::Failed { why: format!("no magic packet to {broadcast}: {error}") },
        },
        Wake::Command { argv } => run(argv, limit.saturating_sub(COMMAND_RESERVE)).await,
    }
}

/// Six octets of ones, then the card's address sixteen times (AMD, "Magic Packet Technology", 1995).
pub fn magic_packet(mac: &[u8; 6]) -> [u8; 102] {
    let mut packet = [0xff; 102];
    for chunk in packet[6..].chunks_exact_mut(6) {
        chunk.copy_from_slice(mac);
    }
    packet
}

async fn send_packets(mac: &[u8; 6], to: SocketAddr) -> std::io::Result<()> {
    let from: SocketAddr = match to {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(from).await?;
    socket.set_broadcast(true)?;
    let packet = magic_packet(mac);
    for number in 0..PACKETS {
        if number > 0 {
            tokio::time::sleep(PACKET_INTERVAL).await;
        }
        socket.send_to(&packet, to).await?;
    }
    Ok(())
}

/// Runs the command without a shell; it and what it started are killed at the limit, and when nobody waits any more.
async fn run(argv: &[String], limit: Duration) -> Outcome {
    let Some((program, arguments)) = argv.split_first() else {
        return Outcome::Failed { why: "the wake command is empty".to_owned() };
    };
    let mut command = Command::new(program);
    command.args(arguments).current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.process_group(0).kill_on_drop(true);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return Outcome::Failed { why: format!("{program} cannot be run: {error}") },
    };
    let _group = Group(child.id().and_then(|id| i32::try_from(id).ok()));
    match tokio::time::timeout(limit, finish(&mut child)).await {
        Ok(Ok((status, _))) if status.success() => Outcome::Tried,
        Ok(Ok((status, said))) => Outcome::Failed { why: complaint(program, arguments, status, &said) },
        Ok(Err(error)) => Outcome::Failed { why: format!("{program} cannot be waited for: {error}") },
        Err(_) => Outcome::Failed { why: format!("{program} took longer than {} s and was killed", limit.as_secs()) },
    }
}

/// Ends a process and everything it started, however this ends.
struct Group(Option<i32>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0.and_then(rustix::process::Pid::from_raw) {
            // It has ended already in most cases.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}

async fn finish(child: &mut Child) -> std::io::Result<(ExitStatus, String)> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let mut said = (Vec::new(), Vec::new());
    let status = {
        let reading = async { tokio::join!(read_some(stdout, &mut said.0), read_some(stderr, &mut said.1)) };
        tokio::pin!(reading);
        let ended = tokio::select! {
            status = child.wait() => Some(status?),
            _ = &mut reading => None,
        };
        match ended {
            // A program that leaves a child behind leaves its pipes open as well: its own end is what counts.
            Some(status) => {
                let _ = tokio::time::timeout(LAST_WORDS, reading).await;
                status
            }
            None => child.wait().await?,
        }
    };
    let text = if said.1.is_empty() { said.0 } else { said.1 };
    Ok((status, String::from_utf8_lossy(&text).into_owned()))
}

async fn read_some(pipe: Option<impl AsyncRead + Unpin>, into: &mut Vec<u8>) {
    let Some(mut pipe) = pipe else { return };
    // What cannot be read is not shown.
    let _ = (&mut pipe).take(OUTPUT_BYTES_MAX).read_to_end(into).await;
    let _ = tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await;
}

fn complaint(program: &str, arguments: &[String], status: ExitStatus, said: &str) -> String {
    let mut said = said.to_owned();
    for secret in arguments.iter().filter(|argument| argument.chars().count() >= SECRET_CHARS_MIN) {
        said = said.replace(secret.as_str(), "***");
    }
    let said = summary(&said);
    let said = if said.is_empty() { String::new() } else { format!(": {said}") };
    format!("{program} ended with {status}{said}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [0x2c, 0xcf, 0x67, 0, 0x11, 0x22];

    fn shell(line: &str, more: &[&str]) -> Wake {
        let argv = ["/bin/sh", "-c", line, "wake"].iter().chain(more).map(|word| (*word).to_owned()).collect();
        Wake::Command { argv }
    }

    async fn why(method: &Wake, limit: Duration) -> String {
        let outcome = wake(method, limit).await;
        let Outcome::Failed { why } = outcome else { panic!("{outcome:?}") };
        why
    }

    #[tokio::test]
    async fn a_magic_packet_is_sent_three_times() {
        let receiver = UdpSocket::bind("127.0.0.1:0").await.expect("a port is free");
        let to = receiver.local_addr().expect("it is bound");
        let method = Wake::WakeOnLan { mac: MAC, broadcast: to };
        assert_eq!(wake(&method, Duration::from_secs(5)).await, Outcome::Tried);
        for _ in 0..PACKETS {
            let mut packet = [0; 200];
            let length = receiver.recv(&mut packet).await.expect("a packet");
            assert_eq!(packet[..length], magic_packet(&MAC));
        }
    }

    #[test]
    fn a_magic_packet_is_six_ones_and_sixteen_times_the_card() {
        let packet = magic_packet(&MAC);
        assert_eq!(packet[..6], [0xff; 6]);
        assert_eq!(packet[6..].chunks(6).filter(|chunk| *chunk == MAC).count(), 16);
    }

    #[tokio::test]
    async fn a_command_gets_its_arguments_and_no_shell() {
        let limit = Duration::from_secs(10);
        assert_eq!(wake(&shell("test \"$1\" = '$(id) *'", &["$(id) *"]), limit).await, Outcome::Tried);
        let missing = Wake::Command { argv: vec!["/nonexistent/wake".to_owned()] };
        assert!(why(&missing, limit).await.contains("/nonexistent/wake cannot be run"));
    }

    #[tokio::test]
    async fn a_command_that_hangs_is_killed_with_what_it_started() {
        let said = why(&shell("sleep 1000 & sleep 1000", &[]), COMMAND_RESERVE + Duration::from_millis(200)).await;
        assert!(said.contains("was killed"), "{said}");
    }

    #[tokio::test]
    async fn what_a_failed_command_prints_is_bounded_and_holds_no_argument() {
        let line = "yes \"password $1 is wrong\" | head -n 100000 >&2; exit 3";
        let said = why(&shell(line, &["hunter2-secret"]), Duration::from_secs(20)).await;
        assert!(said.contains("exit status: 3") && said.contains("***"), "{said}");
        assert!(!said.contains("hunter2") && said.len() < 2000, "{said}");
    }
}
