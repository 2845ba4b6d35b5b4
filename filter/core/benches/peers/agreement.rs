//! That both do the same job.

use super::*;

pub fn assert_all() {
    headers();
    spans();
}

fn headers() {
    let ours = SentryTrace::parse(SENTRY_TRACE.as_bytes()).expect("a good header");
    let theirs = TracePropagationContext::try_from_headers([("sentry-trace", SENTRY_TRACE)]);
    let theirs = theirs.expect("a good header");
    assert_eq!(ours.to_value(), theirs.sentry_trace_header().into_bytes());

    let ours = Traceparent::parse(TRACEPARENT.as_bytes()).expect("a good header");
    let propagator = TraceContextPropagator::new();
    let context = propagator.extract(&carrier("traceparent", TRACEPARENT));
    let mut injected = HashMap::from([]);
    propagator.inject_context(&context, &mut injected);
    let theirs = injected.get("traceparent").map(|value| value.as_bytes());
    assert_eq!(Some(ours.to_value().as_slice()), theirs);
    assert_eq!(
        context.span().span_context().trace_id().to_string(),
        TRACE_ID
    );

    assert!(tracestate::is_valid(std::iter::once(TRACESTATE.as_bytes())));
    let theirs = TraceState::from_str(TRACESTATE).expect("a good header");
    assert_eq!(theirs.header(), TRACESTATE);

    for members in MEMBERS {
        let value = baggage_value(members);
        let ours = read_baggage(&value);
        let theirs = BaggagePropagator::new().extract(&carrier("baggage", &value));
        assert_eq!(theirs.baggage().len(), members);
        assert_eq!((ours.malformed(), ours.is_over_limits()), (0, false));
        let written = ours.write(&SentryMembers::Kept).value;
        assert_eq!(written.as_deref(), Some(value.as_bytes()));
        let dsc = Dsc::frozen(ours.sentry());
        for key in ["trace_id", "public_key", "sample_rate", "environment"] {
            let theirs = theirs.baggage().get(format!("sentry-{key}"));
            assert_eq!(dsc.get(key), theirs.map(|value| value.as_str()), "{key}");
        }
    }

    let ours = Dsn::parse(DSN).expect("a good DSN");
    let theirs: sentry_types::Dsn = DSN.parse().expect("a good DSN");
    assert_eq!(&**ours.public_key(), theirs.public_key());
    assert_eq!(
        theirs.envelope_api_url().path(),
        ours.envelope_path().as_str()
    );
}

fn spans() {
    let recorded = Recorded::new("otlp");
    let post = recorded.post(&mut EncodeBuffers::default());
    let theirs = recorded.as_otlp();
    let spans = &theirs.resource_spans[0].scope_spans[0].spans;
    assert_eq!(spans.len(), 2);
    assert!(spans[0].attributes.len() > 10);
    assert_eq!(theirs.encode_to_vec(), post, "the same bytes");

    let recorded = Recorded::new("transaction");
    let theirs = recorded.as_envelope();
    let items: Vec<_> = theirs.items().collect();
    let [EnvelopeItem::Transaction(transaction)] = items.as_slice() else {
        panic!("not one transaction: {items:?}");
    };
    assert_eq!(transaction.spans.len(), 1);
    assert!(!transaction.spans[0].data.is_empty());
    assert_eq!(Envelope::from_slice(&written(&theirs)).ok(), Some(theirs));

    let theirs = report_as_envelope();
    assert!(matches!(
        theirs.items().next(),
        Some(EnvelopeItem::ClientReport(_))
    ));
}
