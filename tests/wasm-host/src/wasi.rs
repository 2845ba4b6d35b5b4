//! The part of WASI that every Envoy this filter runs on has. No files, no arguments, two streams
//! that are logs.

use crate::call::{Answer, Call, Fault, Import};
use crate::state::LogLine;

const BADF: u32 = 8;
const INVAL: u32 = 28;
const NOSYS: u32 = 52;
const NOTSUP: u32 = 58;
/// A bad address.
pub(crate) const FAULT: u32 = 21;

/// Envoy's list.
pub(crate) const WASI: &[Import] = &[
    wasi("fd_write", "iiii", fd_write),
    wasi("fd_read", "iiii", no_such_call),
    wasi("fd_seek", "iIii", nothing),
    wasi("fd_close", "i", nothing),
    wasi("fd_fdstat_get", "ii", fd_fdstat_get),
    wasi("environ_get", "ii", environ_get),
    wasi("environ_sizes_get", "ii", environ_sizes_get),
    wasi("args_get", "ii", nothing),
    wasi("args_sizes_get", "ii", args_sizes_get),
    wasi("clock_time_get", "iIi", clock_time_get),
    wasi("random_get", "ii", random_get),
    wasi("sched_yield", "", nothing),
    wasi("poll_oneoff", "iiii", poll_oneoff),
    wasi("proc_exit", "i", proc_exit),
];

const fn wasi(
    name: &'static str,
    params: &'static str,
    run: fn(&mut Call<'_, '_>) -> Answer,
) -> Import {
    Import { name, params, run }
}

fn nothing(_: &mut Call<'_, '_>) -> Answer {
    Ok(())
}

fn no_such_call(_: &mut Call<'_, '_>) -> Answer {
    Err(Fault::Status(NOSYS))
}

/// Stdout is a log line at info, stderr one at error.
fn fd_write(call: &mut Call<'_, '_>) -> Answer {
    let level = match call.arg(0) {
        1 => 2,
        2 => 4,
        _ => return Err(Fault::Status(BADF)),
    };
    let (vectors, count) = (call.arg(1), call.arg(2));
    let table = call.bytes_at(vectors, count.saturating_mul(8))?;
    let mut text = Vec::new();
    for vector in table.as_chunks::<8>().0 {
        let [a, b, c, d, e, f, g, h] = *vector;
        let (at, len) = (
            u32::from_le_bytes([a, b, c, d]),
            u32::from_le_bytes([e, f, g, h]),
        );
        if len > 0 {
            text.extend(call.bytes_at(at, len)?);
        }
    }
    let written = u32::try_from(text.len()).unwrap_or(u32::MAX);
    if written > 0 {
        let line = String::from_utf8_lossy(text.strip_suffix(b"\n").unwrap_or(&text)).into_owned();
        call.state().logs.push(LogLine {
            level,
            message: line,
        });
    }
    call.write_u32(3, written)
}

/// Stdout and stderr may be written to; there is nothing else.
fn fd_fdstat_get(call: &mut Call<'_, '_>) -> Answer {
    const MAY_WRITE: u8 = 64;
    if !matches!(call.arg(0), 1 | 2) {
        return Err(Fault::Status(BADF));
    }
    let mut stat = [0; 24];
    stat[8] = MAY_WRITE;
    call.write(call.arg(1), &stat)
}

fn environ_sizes_get(call: &mut Call<'_, '_>) -> Answer {
    let lines = environment(call);
    let bytes = lines.iter().map(Vec::len).sum::<usize>();
    call.write_u32(0, u32::try_from(lines.len()).expect("few variables"))?;
    call.write_u32(1, u32::try_from(bytes).expect("short variables"))
}

fn environ_get(call: &mut Call<'_, '_>) -> Answer {
    let (mut pointers, mut texts) = (call.arg(0), call.arg(1));
    for line in environment(call) {
        call.write(pointers, &texts.to_le_bytes())?;
        call.write(texts, &line)?;
        pointers += 4;
        texts += u32::try_from(line.len()).expect("short variables");
    }
    Ok(())
}

/// `name=value` and a NUL.
fn environment(call: &mut Call<'_, '_>) -> Vec<Vec<u8>> {
    let variables = &call.state().environment;
    variables
        .iter()
        .map(|(name, value)| [name, &b"="[..], value, &[0]].concat())
        .collect()
}

fn args_sizes_get(call: &mut Call<'_, '_>) -> Answer {
    call.write_u32(0, 0)?;
    call.write_u32(1, 0)
}

fn clock_time_get(call: &mut Call<'_, '_>) -> Answer {
    if call.arg(0) > 1 {
        return Err(Fault::Status(NOTSUP));
    }
    let now = call.state().clock_ns;
    call.write_u64(2, now)
}

fn random_get(call: &mut Call<'_, '_>) -> Answer {
    const MOST: u32 = 65_536;
    let (at, len) = (call.arg(0), call.arg(1));
    if len > MOST {
        return Err(Fault::Status(INVAL));
    }
    let mut bytes = vec![0; len as usize];
    call.state().random.fill(&mut bytes);
    call.write(at, &bytes)
}

fn poll_oneoff(call: &mut Call<'_, '_>) -> Answer {
    call.write_u32(3, 0)?;
    Err(Fault::Status(NOSYS))
}

/// Envoy returns from it, and the module runs into the `unreachable` behind the call; either way
/// the VM is gone.
fn proc_exit(call: &mut Call<'_, '_>) -> Answer {
    let code = call.arg(0);
    Err(Fault::Trap(wasmi::Error::new(format!("proc_exit({code})"))))
}
