//! The `env.proxy_*` imports of ABI 0.2.1, with the semantics of Envoy's C++ host.

use wasmi::{FuncType, Linker, Val, ValType};

use crate::call::{Answer, Call, Fault, Import};
use crate::expressions::call_foreign_function;
use crate::maps::HeaderMap;
use crate::state::{map, status, Callout, Cluster, HeaderWrite, LogLine, Metric, State};
use crate::wasi;

type Run = fn(&mut Call<'_, '_>) -> Answer;

/// All of ABI 0.2.1.
pub(crate) const ENV: &[Import] = &[
    env("proxy_log", "iii", log),
    env("proxy_get_log_level", "i", get_log_level),
    env("proxy_get_status", "iii", get_status),
    env("proxy_set_property", "iiii", set_property),
    env("proxy_get_property", "iiii", get_property),
    env("proxy_get_shared_data", "iiiii", get_shared_data),
    env("proxy_set_shared_data", "iiiii", set_shared_data),
    env("proxy_get_header_map_value", "iiiii", get_header_map_value),
    env("proxy_add_header_map_value", "iiiii", add_header_map_value),
    env(
        "proxy_replace_header_map_value",
        "iiiii",
        replace_header_map_value,
    ),
    env(
        "proxy_remove_header_map_value",
        "iii",
        remove_header_map_value,
    ),
    env("proxy_get_header_map_pairs", "iii", get_header_map_pairs),
    env("proxy_set_header_map_pairs", "iii", set_header_map_pairs),
    env("proxy_get_header_map_size", "ii", get_header_map_size),
    env("proxy_get_buffer_status", "iii", get_buffer_status),
    env("proxy_get_buffer_bytes", "iiiii", get_buffer_bytes),
    env("proxy_http_call", "iiiiiiiiii", http_call),
    env("proxy_set_tick_period_milliseconds", "i", set_tick_period),
    env("proxy_get_current_time_nanoseconds", "i", get_current_time),
    env("proxy_define_metric", "iiii", define_metric),
    env("proxy_increment_metric", "iI", increment_metric),
    env("proxy_record_metric", "iI", record_metric),
    env("proxy_get_metric", "ii", get_metric),
    env("proxy_set_effective_context", "i", set_effective_context),
    env("proxy_done", "", done),
    env(
        "proxy_call_foreign_function",
        "iiiiii",
        call_foreign_function,
    ),
    // What a filter that only adds headers has no business calling: offered, as in Envoy, and
    // answered `Unimplemented`.
    env("proxy_set_buffer_bytes", "iiiii", unimplemented),
    env("proxy_send_local_response", "iiiiiiii", unimplemented),
    env("proxy_continue_stream", "i", unimplemented),
    env("proxy_close_stream", "i", unimplemented),
    env("proxy_register_shared_queue", "iii", unimplemented),
    env("proxy_resolve_shared_queue", "iiiii", unimplemented),
    env("proxy_dequeue_shared_queue", "iii", unimplemented),
    env("proxy_enqueue_shared_queue", "iii", unimplemented),
    env("proxy_grpc_call", "iiiiiiiiiiii", unimplemented),
    env("proxy_grpc_stream", "iiiiiiiii", unimplemented),
    env("proxy_grpc_send", "iiii", unimplemented),
    env("proxy_grpc_close", "i", unimplemented),
    env("proxy_grpc_cancel", "i", unimplemented),
];

/// The modules that Envoy offers, with what is in each. WASI goes by two names.
pub(crate) const MODULES: &[(&str, &[Import])] = &[
    ("env", ENV),
    ("wasi_snapshot_preview1", wasi::WASI),
    ("wasi_unstable", wasi::WASI),
];

const fn env(
    name: &'static str,
    params: &'static str,
    run: fn(&mut Call<'_, '_>) -> Answer,
) -> Import {
    Import { name, params, run }
}

/// Whether a filter that holds, ends and rewrites nothing has no business calling that import.
pub(crate) fn is_out_of_place(name: &str) -> bool {
    let import = ENV.iter().find(|import| import.name == name);
    name == "proxy_set_header_map_pairs"
        || import.is_some_and(|import| std::ptr::fn_addr_eq(import.run, unimplemented as Run))
}

/// Defines every import: count, look into the refusal plan, run.
pub(crate) fn link(linker: &mut Linker<State>) -> Result<(), wasmi::Error> {
    for (module, imports) in MODULES {
        for import in *imports {
            let returns = (import.name != "proc_exit").then_some(ValType::I32);
            let ty = FuncType::new(import.params(), returns);
            let is_env = *module == "env";
            linker.func_new(module, import.name, ty, move |mut caller, args, results| {
                let name = import.name;
                if is_env && caller.data().starting && name != "proxy_log" {
                    return Err(wasmi::Error::new(format!(
                        "{name} is not open to a VM that starts"
                    )));
                }
                if let Some(status) = caller.data_mut().refusal(name) {
                    answer(results, status);
                    return Ok(());
                }
                let bad_address = if is_env {
                    status::INVALID_MEMORY_ACCESS
                } else {
                    wasi::FAULT
                };
                let mut call = Call {
                    caller: &mut caller,
                    name,
                    args,
                    bad_address,
                };
                match (import.run)(&mut call) {
                    Ok(()) => answer(results, status::OK),
                    Err(Fault::Status(status)) => answer(results, status),
                    Err(Fault::Trap(trap)) => return Err(trap),
                }
                Ok(())
            })?;
        }
    }
    Ok(())
}

fn answer(results: &mut [Val], status: u32) {
    if let Some(result) = results.first_mut() {
        *result = Val::I32(status.cast_signed());
    }
}

fn refuse<T>(status: u32) -> Result<T, Fault> {
    Err(Fault::Status(status))
}

fn unimplemented(_: &mut Call<'_, '_>) -> Answer {
    refuse(status::UNIMPLEMENTED)
}

// Logs, clock, status

fn log(call: &mut Call<'_, '_>) -> Answer {
    let level = call.arg(0);
    let message = String::from_utf8_lossy(&call.bytes(1)?).into_owned();
    if level > 5 {
        return refuse(status::BAD_ARGUMENT);
    }
    call.state().logs.push(LogLine { level, message });
    Ok(())
}

fn get_log_level(call: &mut Call<'_, '_>) -> Answer {
    let level = call.state().log_level;
    call.write_u32(0, level)
}

fn get_current_time(call: &mut Call<'_, '_>) -> Answer {
    let now = call.state().clock_ns;
    call.write_u64(0, now)
}

fn get_status(call: &mut Call<'_, '_>) -> Answer {
    let (code, message) = call.state().call_status;
    call.write_u32(0, code)?;
    call.return_bytes(1, message.as_bytes())
}

// Contexts

fn set_effective_context(call: &mut Call<'_, '_>) -> Answer {
    let id = call.arg(0);
    if !call.state().contexts.contains_key(&id) {
        return refuse(status::BAD_ARGUMENT);
    }
    call.state().effective = id;
    Ok(())
}

fn set_tick_period(call: &mut Call<'_, '_>) -> Answer {
    let period = call.arg(0);
    let root = call.state().root_id();
    if let Some(context) = call.state().contexts.get_mut(&root) {
        context.tick_period_ms = Some(period);
    }
    Ok(())
}

/// Valid only between an `on_done` that answered false and the deletion that this call asks for.
fn done(call: &mut Call<'_, '_>) -> Answer {
    let id = call.state().context_id();
    call.state().done_calls.push(id);
    match call.state().contexts.get_mut(&id) {
        Some(context) if context.done_pending => {
            context.done_pending = false;
            call.state().deletions.push(id);
            Ok(())
        }
        _ => refuse(status::NOT_FOUND),
    }
}

// Properties

fn get_property(call: &mut Call<'_, '_>) -> Answer {
    let mut path = call.bytes(0)?;
    if path.last() == Some(&0) {
        path.pop();
    }
    match call.state().attribute(&path) {
        Some(value) => call.return_bytes(2, &value),
        None => refuse(status::NOT_FOUND),
    }
}

/// Becomes filter state of the stream; a root context has none.
fn set_property(call: &mut Call<'_, '_>) -> Answer {
    let (path, value) = (call.bytes(0)?, call.bytes(2)?);
    match call.state().context() {
        Some(context) if context.parent.is_some() => {
            context.filter_state.insert(path, value);
            Ok(())
        }
        _ => refuse(status::NOT_FOUND),
    }
}

// Header maps

/// A map that is not there reads as an empty one.
fn get_header_map_pairs(call: &mut Call<'_, '_>) -> Answer {
    let map = map_number(call)?;
    let encoded = call.state().readable_map(map).map(HeaderMap::encode);
    call.return_bytes(1, &encoded.unwrap_or_default())
}

/// The first line of that name only.
fn get_header_map_value(call: &mut Call<'_, '_>) -> Answer {
    let (map, name) = (map_number(call)?, call.bytes(1)?);
    let in_log = call.state().record.callback == "proxy_on_log";
    let value = match call.state().readable_map(map) {
        Some(headers) => headers.values(&name).first().map(|value| value.to_vec()),
        None if in_log => None,
        None => return refuse(status::BAD_ARGUMENT),
    };
    match value {
        Some(value) => call.return_bytes(3, &value),
        None => refuse(status::NOT_FOUND),
    }
}

fn get_header_map_size(call: &mut Call<'_, '_>) -> Answer {
    let map = map_number(call)?;
    let Some(headers) = call.state().writable_map(map) else {
        return refuse(status::BAD_ARGUMENT);
    };
    let bytes: usize = headers
        .lines()
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    call.write_u32(1, u32::try_from(bytes).expect("a header map below 4 GiB"))
}

fn add_header_map_value(call: &mut Call<'_, '_>) -> Answer {
    let (name, value) = (call.bytes(1)?, call.bytes(3)?);
    change_map(call, name, value, |headers, name, value| {
        headers.add(name, value)
    })
}

fn replace_header_map_value(call: &mut Call<'_, '_>) -> Answer {
    let (name, value) = (call.bytes(1)?, call.bytes(3)?);
    change_map(call, name, value, HeaderMap::replace)
}

fn remove_header_map_value(call: &mut Call<'_, '_>) -> Answer {
    let name = call.bytes(1)?;
    change_map(call, name, Vec::new(), |headers, name, _| {
        headers.remove(name)
    })
}

fn set_header_map_pairs(call: &mut Call<'_, '_>) -> Answer {
    let encoded = call.bytes(1)?;
    change_map(call, Vec::new(), encoded, |headers, _, encoded| {
        *headers = HeaderMap::decode(encoded)
    })
}

fn change_map(
    call: &mut Call<'_, '_>,
    name: Vec<u8>,
    value: Vec<u8>,
    change: fn(&mut HeaderMap, &[u8], &[u8]),
) -> Answer {
    let (map, import) = (map_number(call)?, call.name);
    let name = name.to_ascii_lowercase();
    let Some(headers) = call.state().writable_map(map) else {
        return refuse(status::BAD_ARGUMENT);
    };
    change(headers, &name, &value);
    call.state().record.writes.push(HeaderWrite {
        import,
        map,
        name,
        value,
    });
    Ok(())
}

fn map_number(call: &Call<'_, '_>) -> Result<u32, Fault> {
    match call.arg(0) {
        number @ 0..=map::MAX => Ok(number),
        _ => refuse(status::BAD_ARGUMENT),
    }
}

// Buffers

fn get_buffer_bytes(call: &mut Call<'_, '_>) -> Answer {
    let (start, len) = (call.arg(1) as usize, call.arg(2) as usize);
    let buffer = buffer(call)?;
    let rest = buffer.get(start..).unwrap_or_default();
    let part = rest.get(..len).unwrap_or(rest).to_vec();
    call.return_bytes(3, &part)
}

fn get_buffer_status(call: &mut Call<'_, '_>) -> Answer {
    let len = buffer(call)?.len();
    call.write_u32(1, u32::try_from(len).expect("a buffer below 4 GiB"))?;
    call.write_u32(2, 0)
}

/// The VM configuration at any time, all others only in their own callback.
fn buffer(call: &mut Call<'_, '_>) -> Result<Vec<u8>, Fault> {
    const VM_CONFIGURATION: u32 = 6;
    const CALL_RESPONSE_BODY: u32 = 4;
    const MAX: u32 = 8;
    let owner = match call.arg(0) {
        VM_CONFIGURATION => return Ok(call.state().vm_configuration.clone()),
        CALL_RESPONSE_BODY => call.state().root_id(),
        0..=MAX => call.state().context_id(),
        _ => return refuse(status::BAD_ARGUMENT),
    };
    let number = call.arg(0);
    let context = call.state().contexts.get(&owner);
    match context.and_then(|context| context.buffers.get(&number)) {
        Some(buffer) => Ok(buffer.clone()),
        None => refuse(status::NOT_FOUND),
    }
}

// Callouts

fn http_call(call: &mut Call<'_, '_>) -> Answer {
    const TOKEN: usize = 9;
    let cluster = String::from_utf8_lossy(&call.bytes(0)?).into_owned();
    let headers = HeaderMap::decode(&call.bytes(2)?);
    let body = call.bytes(4)?;
    let trailers = HeaderMap::decode(&call.bytes(6)?);
    let timeout_ms = call.arg(8);
    call.write_u32(TOKEN, 0)?;

    let named = |name: &str| !headers.values(name).is_empty();
    let complete = named(":method") && named(":path") && named(":authority");
    let known = call.state().clusters.get(&cluster).copied();
    let (Some(known), true) = (known, complete && timeout_ms <= i32::MAX.cast_unsigned()) else {
        return refuse(status::BAD_ARGUMENT);
    };
    let root = call.state().root_id();
    if known == Cluster::NoHealthyHost {
        return refuse(status::INTERNAL_FAILURE);
    }
    let token = call.state().next_token;
    call.state().next_token += 1;
    call.state().callouts.push(Callout {
        token,
        root,
        cluster,
        headers,
        body,
        trailers,
        timeout_ms,
        answered: false,
    });
    call.write_u32(TOKEN, token)
}

// Metrics

const COUNTER: u32 = 0;
const GAUGE: u32 = 1;
const HISTOGRAM: u32 = 2;

/// A new id each time; the same name is the same metric.
fn define_metric(call: &mut Call<'_, '_>) -> Answer {
    let kind = call.arg(0);
    let name = String::from_utf8_lossy(&call.bytes(1)?).into_owned();
    if kind > HISTOGRAM {
        return refuse(status::BAD_ARGUMENT);
    }
    let next = u32::try_from(call.state().metric_ids.len()).expect("few metrics") + 1;
    let id = (next << 2) | kind;
    call.state().metric_values.entry(name.clone()).or_default();
    call.state().metric_ids.insert(id, Metric { kind, name });
    call.write_u32(3, id)
}

/// A counter takes no increment of 0 or below.
fn increment_metric(call: &mut Call<'_, '_>) -> Answer {
    let offset = call.arg64(1);
    let id = call.arg(0);
    let (kind, value) = metric(call, id)?;
    match kind {
        COUNTER if offset > 0 => *value = value.wrapping_add(offset.cast_unsigned()),
        GAUGE => *value = value.wrapping_add_signed(offset),
        _ => return refuse(status::BAD_ARGUMENT),
    }
    Ok(())
}

fn record_metric(call: &mut Call<'_, '_>) -> Answer {
    let record = call.arg64(1).cast_unsigned();
    let id = call.arg(0);
    let (kind, value) = metric(call, id)?;
    *value = if kind == COUNTER {
        value.wrapping_add(record)
    } else {
        record
    };
    Ok(())
}

fn get_metric(call: &mut Call<'_, '_>) -> Answer {
    let id = call.arg(0);
    let (kind, value) = metric(call, id)?;
    let value = *value;
    if kind == HISTOGRAM {
        return refuse(status::BAD_ARGUMENT);
    }
    call.write_u64(1, value)
}

fn metric<'a>(call: &'a mut Call<'_, '_>, id: u32) -> Result<(u32, &'a mut u64), Fault> {
    let state = call.state();
    let Some(metric) = state.metric_ids.get(&id) else {
        return refuse(status::NOT_FOUND);
    };
    match state.metric_values.get_mut(&metric.name) {
        Some(value) => Ok((metric.kind, value)),
        None => refuse(status::NOT_FOUND),
    }
}

// Shared data

fn get_shared_data(call: &mut Call<'_, '_>) -> Answer {
    let key = call.bytes(0)?;
    let Some((value, cas)) = call.state().shared_data.get(&key).cloned() else {
        return refuse(status::NOT_FOUND);
    };
    call.return_bytes(2, &value)?;
    call.write_u32(4, cas)
}

/// A CAS of 0 always wins.
fn set_shared_data(call: &mut Call<'_, '_>) -> Answer {
    let (key, value, cas) = (call.bytes(0)?, call.bytes(2)?, call.arg(4));
    let held = call.state().shared_data.get(&key).map(|(_, held)| *held);
    if cas != 0 && held.is_some_and(|held| held != cas) {
        return refuse(status::CAS_MISMATCH);
    }
    let next = call.state().next_cas;
    call.state().next_cas += 1;
    call.state().shared_data.insert(key, (value, next));
    Ok(())
}
