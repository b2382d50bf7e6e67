//! Every key of the configuration is claimed by a test that starts the built binary and sees what the key changes.

use postern::config::schema::KEYS;

/// Key, and the test that changes it.
const CLAIMS: &[(&str, &str)] = &[
    ("lan", "serve_lan_takes_all_addresses_for_private_and_connected_networks"),
    ("state_dir", "a_second_instance_is_an_error_that_names_the_first"),
    ("user", "it_becomes_the_user_that_is_configured"),
    ("workers", "sockets_can_be_moved_and_metrics_switched_off"),
    ("listen.addresses", "hangup_reloads_and_addresses_move_without_losing_those_that_stay"),
    ("listen.udp_payload_bytes", "keys_of_the_resolver_change_what_is_asked_and_answered"),
    ("listen.tcp_connections", "a_connection_too_many_closes_the_one_that_was_idle_longest"),
    ("listen.tcp_idle_seconds", "a_silent_connection_is_closed"),
    ("listen.resolving_queries", "without_a_place_a_client_gets_stale_data_or_nothing_or_servfail"),
    ("listen.when_full", "without_a_place_a_client_gets_stale_data_or_nothing_or_servfail"),
    ("access.allow", "who_is_not_served_is_refused_or_met_with_silence"),
    ("access.connected", "who_may_ask_and_who_may_fetch_metrics_is_the_operators_word"),
    ("access.open", "who_may_ask_and_who_may_fetch_metrics_is_the_operators_word"),
    ("access.refuse", "who_is_not_served_is_refused_or_met_with_silence"),
    ("access.cookies", "a_cookie_or_a_stream_lifts_the_limit"),
    ("limit.answers_per_second", "answers_are_limited_by_prefix_rate_burst_and_slip"),
    ("limit.errors_per_second", "refusals_have_a_limit_of_their_own"),
    ("limit.burst_seconds", "answers_are_limited_by_prefix_rate_burst_and_slip"),
    ("limit.slip", "answers_are_limited_by_prefix_rate_burst_and_slip"),
    ("limit.ipv4_prefix_bits", "answers_are_limited_by_prefix_rate_burst_and_slip"),
    ("limit.ipv6_prefix_bits", "neighbours_of_one_ipv6_prefix_share_a_limit"),
    ("limit.private", "answers_are_limited_by_prefix_rate_burst_and_slip"),
    ("resolve.qname_minimisation", "a_server_learns_as_much_of_a_name_as_it_needs"),
    ("resolve.ipv4", "either_family_of_addresses_can_be_switched_off"),
    ("resolve.ipv6", "either_family_of_addresses_can_be_switched_off"),
    ("resolve.loopback_upstream", "our_own_machine_is_asked_only_where_that_is_allowed"),
    ("resolve.upstream_port", "root_servers_and_their_port_are_those_of_the_configuration"),
    ("resolve.case_randomisation", "keys_of_the_resolver_change_what_is_asked_and_answered"),
    ("resolve.special_use", "negative_anchors_and_special_names_follow_the_configuration"),
    ("resolve.special_use_off", "a_special_name_can_be_resolved_like_any_other"),
    ("resolve.aggressive_nsec", "a_gap_once_proven_answers_for_all_names_in_it"),
    ("resolve.any", "any_is_asked_or_answered_with_one_hinfo"),
    ("resolve.root_hints", "root_servers_and_their_port_are_those_of_the_configuration"),
    ("resolve.records", "keys_of_the_resolver_change_what_is_asked_and_answered"),
    ("resolve.private_addresses", "keys_of_the_resolver_change_what_is_asked_and_answered"),
    ("resolve.private_domains", "keys_of_the_resolver_change_what_is_asked_and_answered"),
    ("forward.zone", "the_longest_route_decides"),
    ("forward.servers", "the_longest_route_decides"),
    ("forward.policy", "the_first_forwarder_that_works_is_asked_or_the_fastest"),
    ("forward.fallback", "when_a_forwarder_has_no_answer_the_root_may_have_one"),
    ("stub.zone", "a_stub_is_asked_without_recursion_and_a_forwarder_with_it"),
    ("stub.servers", "a_stub_is_asked_without_recursion_and_a_forwarder_with_it"),
    ("validate.builtin_anchors", "anchors_come_from_the_configuration_or_a_file_of_its_own"),
    ("validate.anchors", "anchors_come_from_the_configuration_or_a_file_of_its_own"),
    ("validate.anchors_file", "anchors_come_from_the_configuration_or_a_file_of_its_own"),
    ("validate.nsec3_iterations", "nsec3_with_more_iterations_than_allowed_proves_nothing"),
    ("validate.rollover", "without_answers_to_its_looks_and_without_looks_everything_else_goes_on"),
    ("cache.prefetch", "what_is_asked_for_at_the_end_of_its_ttl_is_fetched_before_it_ends"),
    ("validate.nsec3_servfail", "nsec3_with_more_iterations_than_allowed_proves_nothing"),
    ("validate.sha1", "zones_signed_with_sha1_are_unsigned_unless_that_is_wanted"),
    ("nta.zone", "a_negative_anchor_lets_a_broken_zone_through_until_it_ends"),
    ("nta.reason", "a_negative_anchor_lets_a_broken_zone_through_until_it_ends"),
    ("nta.until", "a_negative_anchor_lets_a_broken_zone_through_until_it_ends"),
    ("budget.upstream_queries", "one_query_costs_no_more_than_its_budget"),
    ("budget.seconds", "a_query_ends_when_its_time_is_over"),
    ("budget.signatures", "signature_checks_are_counted_against_a_budget"),
    ("cache.bytes", "the_cache_stays_within_its_octets"),
    ("cache.min_ttl_seconds", "times_to_live_are_kept_within_bounds"),
    ("cache.max_ttl_seconds", "times_to_live_are_kept_within_bounds"),
    ("cache.max_negative_ttl_seconds", "times_to_live_are_kept_within_bounds"),
    ("cache.stale_seconds", "when_no_server_answers_what_has_expired_is_served_if_that_is_wanted"),
    ("block.action", "a_reload_applies_a_good_configuration_and_refuses_a_bad_one_whole"),
    ("block.sinkhole", "a_sinkhole_answers_with_its_addresses_and_stays_silent_about_other_types"),
    ("block.ttl_seconds", "a_reload_applies_a_good_configuration_and_refuses_a_bad_one_whole"),
    ("block.own_names", "own_and_critical_names_are_protected_at_decision_time"),
    ("block.critical_file", "own_and_critical_names_are_protected_at_decision_time"),
    ("block.keep_versions", "older_versions_of_a_list_go_when_there_are_enough"),
    ("block.max_stale_seconds", "a_list_that_has_expired_since_it_was_taken_blocks_on_and_status_warns"),
    ("trust.root_key", "one_person_can_do_the_ceremony_and_survive_a_lost_and_a_stolen_key"),
    ("trust.max_new_names", "what_would_hurt_the_post_is_held"),
    ("trust.max_new_clients", "what_would_hurt_the_post_is_held"),
    ("rpz.file", "a_policy_zone_says_what_is_answered"),
    ("metrics.address", "sockets_can_be_moved_and_metrics_switched_off"),
    ("metrics.allow", "who_may_ask_and_who_may_fetch_metrics_is_the_operators_word"),
    ("control.socket", "sockets_can_be_moved_and_metrics_switched_off"),
];

/// The tests that may be claimed.
const TESTS: &[&str] = &[
    include_str!("keeping.rs"),
    include_str!("life.rs"),
    include_str!("limits.rs"),
    include_str!("namespaces.rs"),
    include_str!("policy_zone.rs"),
    include_str!("resolving.rs"),
    include_str!("validating.rs"),
    include_str!("sha1.rs"),
    include_str!("../trust/ceremony.rs"),
    include_str!("../trust/refusals.rs"),
    include_str!("../trust/store.rs"),
    include_str!("../anchors.rs"),
];

/// The body of a test.
fn body(test: &str) -> Option<&'static str> {
    let head = format!("#[test]\nfn {test}() {{\n");
    TESTS.iter().find_map(|file| file.split_once(&head)).map(|(_, rest)| rest.split("\n}\n").next().unwrap_or(rest))
}

#[test]
fn every_key_is_claimed_by_a_test_that_names_it() {
    for key in KEYS {
        let claim = CLAIMS.iter().find(|(path, _)| *path == key.path);
        let (_, test) =
            claim.unwrap_or_else(|| panic!("no test of the built binary changes {}: write one and claim the key here", key.path));
        let body = body(test).unwrap_or_else(|| panic!("{} is claimed by {test}, which is no test", key.path));
        let named = [format!("\"{}\"", key.path), format!("{} = ", key.name())];
        // The place of an address is told by the address, too.
        let told = named.iter().any(|text| body.contains(text)) || body.contains(&format!("{}: ", key.name()));
        assert!(told || SPOKEN.contains(&key.path), "{test} does not mention {}", key.path);
    }
    for (path, _) in CLAIMS {
        assert!(KEYS.iter().any(|key| key.path == *path), "{path} is no key any more");
    }
}

/// Keys that their tests change without writing them down: by replacing a part of a whole configuration.
const SPOKEN: &[&str] = &["listen.addresses", "stub.zone", "state_dir"];
