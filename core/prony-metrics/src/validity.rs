//! Validity: the numbers reflect the engine and not the client that measured it, and the
//! engine's declared cache state.

use crate::cache;
use prony_record::ErrorClass;
use prony_result::{Cache, Client, EngineResult, words::count};

/// CPU load in percent of its cores above which the client may be the bottleneck.
pub const BUSY_PERCENT: f64 = 90.0;
/// Send lag above which a send is late, if it also exceeds `LATE_SHARE` of the latency.
const LATE_MS: f64 = 5.0;
const LATE_SHARE: f64 = 0.1;
/// Share of arrivals with a shared stamp above which percentiles of gaps change.
const SHARED: f64 = 0.1;
/// Interval between looks at the sockets, as a share of the gaps between reads, above
/// which gaps are hidden.
const UNSEEN_SHARE: f64 = 0.5;
/// Read lag, as a share of the time per arrival, above which reads bring several
/// arrivals.
const LAG_SHARE: f64 = 0.25;
/// Both are ignored below this. With many streams the client looks only every millisecond
/// by design, which hides no more than that.
const BLIND_MS: f64 = 2.0;
/// Minimum stage length for a meaningful CPU load, in seconds.
const MIN_S: f64 = 0.5;

/// Reasons why the numbers of an engine are invalid; empty if they are valid. `stated` is
/// the declared state of the prefix cache.
pub fn reasons(engine: &EngineResult, stated: Option<Cache>) -> Vec<String> {
    let of_cache = stated.zip(engine.cache.as_ref());
    let mut reasons = of_client(engine);
    reasons.extend(of_plugin(engine));
    reasons.extend(of_cache.and_then(|(stated, check)| cache::reason(stated, check)));
    reasons
}

/// Reason why requests are missing that did not fail by the engine's doing.
fn of_plugin(engine: &EngineResult) -> Option<String> {
    let class = ErrorClass::Plugin.name();
    let unread = engine.errors.get(class)?;
    let message = engine.error_messages.get(class)?;
    let of = count(engine.requests, "request");
    Some(format!(
        "the answers to {unread} of {of} are in no number, by no fault of the engine: {message}"
    ))
}

/// Reasons why the numbers may be the client's.
///
/// Client-side delay must not be attributed to the engine: a run in which the client
/// could not send on time, or had no CPU time left, does not measure the engine. The 90th
/// percentile counts, so that one hiccup of the machine does not.
fn of_client(engine: &EngineResult) -> Vec<String> {
    let Some(client) = &engine.client else {
        return Vec::new();
    };
    let Client {
        cpu_percent,
        send_delay_p90_ms,
        ..
    } = client;
    let mut reasons = Vec::new();
    if *cpu_percent > BUSY_PERCENT && engine.total_time_s >= MIN_S {
        reasons.push(format!(
            "the load client used {cpu_percent:.0} % of its CPU time, so it may be what was measured"
        ));
    }
    let latency = engine.request_latency_ms.map_or(0.0, |latency| latency.p50);
    if *send_delay_p90_ms > LATE_MS && *send_delay_p90_ms > latency * LATE_SHARE {
        reasons.push(format!(
            "in a tenth of the visits, one request in ten was sent {send_delay_p90_ms:.1} ms late or later, against a median latency of {latency:.1} ms"
        ));
    }
    if let Some(held_up_ms) = client.held_up_ms {
        reasons.push(format!(
            "the load client read and sent nothing for {held_up_ms:.0} ms, because answers came faster than they could be kept: the engine was held up"
        ));
    }
    reasons.extend(of_shared_stamps(engine, client));
    reasons
}

/// Reason why gaps between tokens, and times to first tokens, may be due to the client's
/// reads.
///
/// A stamp belongs to a read. Tokens of one read share the stamp of the last, even if
/// they were sent apart: gaps of 0 and gaps as long as the client's absence then replace
/// the engine's. Mostly it is the engine that sends several tokens in one write, which is
/// not an error. The client distinguishes these by what it knows of itself:
///
/// - The tokens of a read arrived since the client last saw an empty socket. If that was
///   a moment ago, compared with the gaps between reads, they were sent together. If it
///   was as long ago as such a gap, the gaps are the client's: one that gets round to a
///   stream every 100 ms sees gaps of 100 ms, whatever was sent. The mean of those gaps
///   is that of all gaps divided by the share of nonzero gaps. This reveals a thread with
///   too many streams.
/// - The stamp of the last token shows the read lag. A client that is late by several
///   gaps meets the last token at any moment of its gap; where the engine sends tokens
///   together, it does not. One late read brings as many tokens as it is late by, so reads
///   count by their bytes: if a tenth of the bytes is late, so may a tenth of the stamps
///   be. This reveals a thread that is not given a core in time, always or now and then,
///   which does not know how long ago it should have been woken.
fn of_shared_stamps(engine: &EngineResult, client: &Client) -> Option<String> {
    let shared = engine.cadence.shared_stamp_share?;
    if shared <= SHARED {
        return None;
    }
    let (each_ms, read_ms) = if shared < 1.0 {
        let each_ms = engine.inter_token_latency_ms?.mean;
        (each_ms, each_ms / (1.0 - shared))
    } else {
        // Each answer came in one read.
        let latency_ms = engine.request_latency_ms?.mean;
        (latency_ms, latency_ms)
    };
    let is_beyond = |ms: Option<f64>, limit_ms: f64| ms.filter(|ms| *ms > limit_ms.max(BLIND_MS));
    let why = if let Some(ms) = is_beyond(client.unseen_p50_ms, read_ms * UNSEEN_SHARE) {
        format!(
            "looked at its sockets only every {ms:.1} ms (median), against {read_ms:.1} ms between reads of a stream"
        )
    } else {
        // Journals of before there was a lag of bytes have that of reads.
        let late = client.byte_delay_p90_ms.or(client.read_delay_p50_ms);
        let ms = is_beyond(late, each_ms * LAG_SHARE)?;
        format!("read a tenth of the bytes {ms:.1} ms late, against {each_ms:.1} ms for each token")
    };
    Some(format!(
        "{:.0} % of tokens share the stamp of the token before, and the load client {why}: \
         times of tokens may be its own",
        shared * 100.0
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Requests;
    use crate::fixture::answered;
    use crate::summary;
    use prony_record::{Arrival, Record};

    fn of_record(record: &Record) -> EngineResult {
        let requests: Requests = std::iter::once(record).collect();
        summary::engine("e", &requests, &requests.streams_kept(), &[], 1)
    }

    /// A client by the median interval of its looks at the sockets and its median read
    /// lag.
    fn client(unseen_p50_ms: Option<f64>, read_delay_p50_ms: Option<f64>) -> Client {
        Client {
            stamps: "kernel".to_owned(),
            shards: Some(1),
            reads: 100,
            read_delay_p50_ms,
            byte_delay_p90_ms: None,
            read_delay_p99_ms: 0.1,
            unseen_p50_ms,
            send_delay_p90_ms: 0.0,
            send_delay_p99_ms: 0.0,
            cpu_percent: 50.0,
            dropped: 0,
            held_up_ms: None,
        }
    }

    /// Reasons for an answer whose 64 tokens are due `gap_ms` apart, written `in_a_write`
    /// together, to a client that reads every `look_ms`.
    fn engine(gap_ms: f64, in_a_write: u32, look_ms: f64) -> EngineResult {
        let stamp = |token: u32| {
            let written = f64::from(token / in_a_write * in_a_write) * gap_ms;
            // The next read has the stamp of the last write before it.
            let read = ((written / look_ms).floor() + 1.0) * look_ms;
            let writes = gap_ms * f64::from(in_a_write);
            let last = ((read - 1e-9) / writes).floor() * writes;
            (last.max(written) * 1e6) as u64
        };
        let record = Record {
            arrivals: (0..64).map(|token| Arrival(stamp(token), 1)).collect(),
            ..answered("x", 64)
        };
        of_record(&record)
    }

    /// The reasons if the client knows how often it looks.
    fn reasons_of(gap_ms: f64, in_a_write: u32, look_ms: f64) -> Vec<String> {
        let mut engine = engine(gap_ms, in_a_write, look_ms);
        engine.client = Some(client(Some(look_ms), Some(0.01)));
        reasons(&engine, None)
    }

    #[test]
    fn tokens_that_the_client_read_together_are_told_from_those_that_were_sent_together() {
        let nothing = [""; 0];
        // One token a write, read in time.
        assert_eq!(reasons_of(20.0, 1, 0.1), nothing);
        assert_eq!(reasons_of(20.0, 1, 1.0), nothing);
        // Several in a write, read in time: the engine's doing.
        assert_eq!(reasons_of(20.0, 8, 0.1), nothing);
        assert_eq!(reasons_of(2.0, 4, 1.0), nothing);
        // All at once, as fast as possible, to a client that looks every millisecond.
        assert_eq!(reasons_of(0.001, 8, 1.0), nothing);
        // Read too rarely, whatever was sent.
        for (gap_ms, in_a_write, look_ms) in [
            (20.0, 1, 200.0),
            (20.0, 1, 45.0),
            (1.0, 1, 2.5),
            (20.0, 2, 200.0),
        ] {
            let reasons = reasons_of(gap_ms, in_a_write, look_ms);
            assert_eq!(reasons.len(), 1, "{gap_ms} {in_a_write} {look_ms}");
            assert!(reasons[0].contains("share the stamp"), "{reasons:?}");
        }
        // The whole answer in one read.
        assert_eq!(reasons_of(20.0, 1, 5000.0).len(), 1);
    }

    #[test]
    fn a_client_that_is_woken_late_shows_by_its_reads() {
        let late = |gap_ms, in_a_write, look_ms, lag_ms| {
            let mut engine = engine(gap_ms, in_a_write, look_ms);
            engine.client = Some(client(Some(0.3), Some(lag_ms)));
            reasons(&engine, None).len()
        };
        // Woken every 200 ms, it reads the last token in the middle of its gap.
        assert_eq!(late(20.0, 1, 200.0, 10.0), 1);
        // The engine sends 8 tokens together, every 160 ms, and they are read promptly.
        assert_eq!(late(20.0, 8, 0.1, 1.5), 0);
        assert_eq!(late(20.0, 8, 0.1, 4.0), 0);
        // Stopped now and then: most reads are prompt, but a tenth of the bytes is not.
        let mut engine = engine(20.0, 1, 200.0);
        engine.client = Some(Client {
            byte_delay_p90_ms: Some(9.0),
            ..client(Some(0.3), Some(0.1))
        });
        assert_eq!(reasons(&engine, None).len(), 1);
        engine.client = Some(Client {
            byte_delay_p90_ms: Some(0.3),
            ..client(Some(0.3), Some(9.0))
        });
        assert_eq!(reasons(&engine, None).len(), 0, "a few bytes came late");
    }

    #[test]
    fn an_engine_that_was_held_up_was_not_measured() {
        let mut engine = engine(10.0, 1, 1.0);
        engine.client = Some(Client {
            held_up_ms: Some(120.0),
            ..client(None, None)
        });
        let reasons = reasons(&engine, None);
        assert!(
            reasons[0].contains("read and sent nothing for 120 ms"),
            "{reasons:?}"
        );
    }

    #[test]
    fn late_reads_do_no_harm_where_every_token_has_its_stamp() {
        let record = Record {
            arrivals: (0..64).map(|token| Arrival(token * 1_000_000, 1)).collect(),
            ..answered("x", 64)
        };
        let mut engine = of_record(&record);
        engine.client = Some(client(Some(30.0), Some(30.0)));
        assert_eq!(reasons(&engine, None), [""; 0]);
    }

    #[test]
    fn a_client_that_does_not_tell_is_not_judged() {
        let record = Record {
            arrivals: (0..64).map(|token| Arrival(token / 8, 1)).collect(),
            ..answered("x", 64)
        };
        let mut engine = of_record(&record);
        engine.client = Some(client(None, None));
        assert_eq!(reasons(&engine, None), [""; 0]);
    }
}
