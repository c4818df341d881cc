package catalog

import (
	"strings"
	"sync"
)

// Category says what besides its arguments a function depends on, or what it does besides returning a result.
type Category byte

// The categories, from harmless to unknown.
const (
	CategoryPure        Category = iota // the arguments say the result
	CategorySettings                    // so do the session's settings and role: TimeZone, DateStyle, text search configuration, current_user
	CategoryMoving                      // the clock or chance: it differs from call to call or from transaction to transaction
	CategoryCatalogs                    // the shard's own catalogs, statistics and sizes: OIDs, privileges, definitions
	CategoryIdentity                    // which server, database or backend it is: address, process id, version, WAL position
	CategoryTransaction                 // transaction ids and snapshots
	CategorySession                     // state of the session: settings by name, advisory locks, cursors, currval, notifications, sleep
	CategorySequence                    // it takes a value from a sequence, or sets one
	CategoryFiles                       // the server's files
	CategoryTables                      // it reads tables that the statement does not name: by SQL or a name in its arguments
	CategoryWrites                      // it changes something outside of the statement's tables: large objects, slots, other backends
	CategoryInternal                    // it cannot be called from SQL
	CategoryUnknown                     // whatever its author wrote
)

var categoryNames = [...]string{
	"pure", "settings", "moving", "catalogs", "identity", "transaction", "session", "sequence", "files", "tables", "writes", "internal", "unknown",
}

func (c Category) String() string {
	if int(c) < len(categoryNames) {
		return categoryNames[c]
	}
	return "unknown"
}

// reaches tells whether a function of this category may read or write tables.
func (c Category) reaches() bool {
	return c == CategoryTables || c == CategoryWrites || c == CategoryUnknown
}

// categoryTable gives PostgreSQL's own functions that are not immutable, or written in SQL, their category, by name: a "*" at the end
// stands for any rest, and a longer match wins. A function of a future version that is not in it is CategoryUnknown.
var categoryTable = []struct {
	category Category
	names    string
}{
	{CategoryPure, `
		bit_length int8pl_inet integer_pl_date interval_pl_date interval_pl_time interval_pl_timestamp interval_pl_timetz log log10 lpad
		numeric_pl_pg_lsn overlaps path_contain_pt polygon round rpad substring timedate_pl timetzdate_pl trunc xpath xpath_exists
		array_in array_out array_send anyarray_out anyarray_send anycompatiblearray_out anycompatiblearray_send anycompatiblemultirange_*
		anycompatiblerange_* anyenum_out anymultirange_* anyrange_* multirange_* range_in range_out range_send record_in
		record_out record_send bpcharsend cstring_send enum_send namesend textsend varcharsend pg_dependencies_send pg_mcv_list_*
		pg_ndistinct_send pg_node_tree_send brin_bloom_summary_send brin_minmax_multi_summary_send pg_column_size pg_column_compression
		pg_column_toast_chunk_id pg_typeof pg_options_to_table pg_input_is_valid pg_input_error_info pg_char_to_encoding
		pg_encoding_to_char getdatabaseencoding convert convert_from convert_to length ts_match_tq ts_match_tt pg_get_keywords
		pg_basetype pg_collation_for domain_in enum_in enum_out enum_first enum_last enum_range`},
	{CategorySettings, `
		anytextcat textanycat array_to_json array_to_string cash_in cash_out concat concat_ws format quote_literal quote_nullable
		date date_cmp_timestamptz date_eq_timestamptz date_ge_timestamptz date_gt_timestamptz date_le_timestamptz date_lt_timestamptz
		date_ne_timestamptz date_out date_part date_trunc date_add date_subtract extract generate_series in_range interval_in interval_out
		interval_pl_timestamptz json_agg* json_build_* json_object_agg* json_populate_* json_to_* jsonb_agg* jsonb_build_* jsonb_object_agg*
		jsonb_path_exists_tz jsonb_path_match_tz jsonb_path_query_array_tz jsonb_path_query_first_tz jsonb_path_query_tz
		jsonb_populate_* jsonb_to_* make_timestamptz money numeric row_to_json to_json to_jsonb to_char to_date to_number to_timestamp
		time timestamp timestamp_cmp_timestamptz timestamp_eq_timestamptz timestamp_ge_timestamptz timestamp_gt_timestamptz
		timestamp_le_timestamptz timestamp_lt_timestamptz timestamp_ne_timestamptz timestamp_out timestamptz timestamptz_cmp_* timestamptz_eq_*
		timestamptz_ge_* timestamptz_gt_* timestamptz_le_* timestamptz_lt_* timestamptz_ne_* timestamptz_mi_interval timestamptz_out
		timestamptz_pl_interval timetz timezone phraseto_tsquery plainto_tsquery to_tsquery websearch_to_tsquery to_tsvector ts_headline
		ts_debug ts_parse ts_token_type get_current_ts_config xml xml_in xml_is_well_formed xml_send current_user session_user
		system_user getpgusername pg_client_encoding current_query`},
	{CategoryMoving, `
		now transaction_timestamp statement_timestamp clock_timestamp timeofday age date_in time_in timetz_in timestamp_in timestamptz_in
		random random_normal gen_random_uuid uuidv4 uuidv7 array_sample array_shuffle pg_timezone_abbrevs* pg_timezone_names`},
	{CategoryCatalogs, `
		satisfies_hash_partition aclexplode amvalidate aclitemin aclitemout col_description obj_description shobj_description current_schema current_schemas
		format_type has_* oidvectortypes pg_available_* pg_collation_actual_version pg_database_collation_actual_version
		pg_column_is_updatable pg_database_size pg_describe_object pg_extension_update_paths pg_filenode_relation pg_function_is_visible
		pg_collation_is_visible pg_conversion_is_visible pg_opclass_is_visible pg_operator_is_visible pg_opfamily_is_visible pg_table_is_visible
		pg_statistics_obj_is_visible pg_ts_config_is_visible pg_ts_dict_is_visible pg_ts_parser_is_visible pg_ts_template_is_visible
		pg_type_is_visible pg_get_* pg_has_role pg_identify_object* pg_index* pg_indexes_size pg_is_other_temp_schema pg_my_temp_schema
		pg_partition_ancestors pg_partition_tree pg_relation_filenode pg_relation_filepath pg_relation_is_publishable pg_relation_is_updatable
		pg_relation_size pg_table_size pg_total_relation_size pg_tablespace_* pg_sequence_last_value pg_sequence_parameters
		pg_settings_get_flags pg_stat_get_* pg_stat_have_stats row_security_active regclass regclassin regclassout regcollationin regcollationout
		regconfigin regconfigout regdictionaryin regdictionaryout regnamespacein regnamespaceout regoperatorin regoperatorout regoperin regoperout
		regprocedurein regprocedureout regprocin regprocout regrolein regroleout regtypein regtypeout to_reg*`},
	{CategoryIdentity, `
		current_database version inet_* pg_backend_pid pg_backup_start_time pg_blocking_pids pg_conf_load_time pg_config pg_control_*
		pg_current_wal_* pg_is_in_backup pg_is_in_recovery pg_is_wal_replay_paused pg_isolation_test_session_is_blocked pg_jit_available
		pg_last_wal_* pg_last_xact_replay_timestamp pg_lock_status pg_numa_available pg_postmaster_start_time pg_prepared_xact
		pg_safe_snapshot_blocking_pids pg_show_replication_origin_status pg_replication_origin_oid pg_replication_origin_progress
		pg_notification_queue_usage pg_split_walfile_name`},
	{CategoryTransaction, `
		pg_current_snapshot pg_current_xact_id pg_current_xact_id_if_assigned pg_last_committed_xact pg_xact_* txid_* mxid_age
		pg_export_snapshot pg_trigger_depth currtid2`},
	{CategorySession, `
		current_setting set_config setseed pg_advisory_* pg_try_advisory_* currval lastval pg_cursor pg_prepared_statement pg_listening_channels
		pg_notify pg_show_all_settings pg_sleep pg_sleep_for pg_sleep_until pg_stat_clear_snapshot pg_stat_get_snapshot_timestamp pg_stat_force_next_flush`},
	{CategorySequence, `nextval setval`},
	{CategoryFiles, `
		pg_ls_* pg_read_* pg_stat_file pg_current_logfile pg_hba_file_rules pg_ident_file_mappings pg_show_all_file_settings
		pg_available_wal_summaries pg_wal_summary_contents`},
	{CategoryTables, `
		query_to_xml* table_to_xml* schema_to_xml* database_to_xml* cursor_to_xml* ts_stat ts_rewrite lo_get loread lo_lseek* lo_tell*`},
	{CategoryWrites, `
		binary_upgrade_* brin_* gin_clean_pending_list fmgr_* plpgsql_* lo_* lowrite pg_backup_start pg_backup_stop pg_start_backup
		pg_stop_backup pg_cancel_backend pg_terminate_backend pg_clear_* pg_restore_* pg_copy_* pg_create_* pg_drop_replication_slot
		pg_event_trigger_* pg_extension_config_dump pg_import_system_collations pg_log_* pg_logical_* pg_nextoid pg_promote pg_reload_conf
		pg_replication_origin_* pg_replication_slot_advance pg_rotate_logfile* pg_stat_reset* pg_stop_making_pinned_objects pg_switch_wal
		pg_sync_replication_slots pg_wal_replay_*`},
}

// safeExtensions are those whose functions only compute: they open no relation and run no SQL, whatever their volatility and language.
const safeExtensions = ` btree_gin btree_gist citext cube earthdistance fuzzystrmatch hstore intarray isn ltree pg_trgm pgcrypto seg unaccent uuid-ossp `

// pseudoTypes are the argument and result types that SQL cannot make values of: internal, trigger, event_trigger, handlers.
var pseudoTypes = map[uint32]bool{2281: true, 2279: true, 3838: true, 2280: true, 3115: true, 325: true, 269: true, 3310: true}

// classes is categoryTable for looking up.
type classes struct {
	exact    map[string]Category
	prefixes []prefixClass
}

type prefixClass struct {
	prefix   string
	category Category
}

var allClasses = sync.OnceValue(func() *classes {
	c := &classes{exact: map[string]Category{}}
	for _, row := range categoryTable {
		for name := range strings.FieldsSeq(row.names) {
			if prefix, ok := strings.CutSuffix(name, "*"); ok {
				c.prefixes = append(c.prefixes, prefixClass{prefix, row.category})
			} else {
				c.exact[name] = row.category
			}
		}
	}
	return c
})

// lookup returns the category of a function of pg_catalog by its name.
func (c *classes) lookup(name string) (Category, bool) {
	if cat, ok := c.exact[name]; ok {
		return cat, true
	}
	best, found := prefixClass{}, false
	for _, p := range c.prefixes {
		if strings.HasPrefix(name, p.prefix) && (!found || len(p.prefix) > len(best.prefix)) {
			best, found = p, true
		}
	}
	return best.category, found
}

// firstUserOID is FirstNormalObjectId of access/transam.h: what users and extensions make has this OID or a higher one.
const firstUserOID = 16384

// classify fills in Category and Reaches.
func (f *Function) classify() {
	f.Category = f.category()
	f.Reaches = f.Category.reaches()
}

func (f *Function) category() Category {
	if pseudoTypes[f.Returns] {
		return CategoryInternal
	}
	for _, t := range f.Args {
		if pseudoTypes[t] {
			return CategoryInternal
		}
	}
	native := f.Language == "c" || f.Language == "internal"
	switch {
	case f.OID < firstUserOID && f.Schema == "pg_catalog":
		if native && f.Volatility == 'i' && f.Name.Name != "satisfies_hash_partition" {
			return CategoryPure
		}
		if c, ok := allClasses().lookup(f.Name.Name); ok {
			return c
		}
		return CategoryUnknown
	case f.OID < firstUserOID && f.Schema == "information_schema":
		return CategoryCatalogs
	case f.Name == Name{guardSchema, "next_id"}:
		return CategoryMoving // its sequence is made so that no two shards give the same value
	case f.Extension != "" && strings.Contains(safeExtensions, " "+f.Extension+" "):
		switch f.Volatility {
		case 'i':
			return CategoryPure
		case 's':
			return CategorySettings
		}
		return CategoryMoving
	case native && f.Kind == 'f' && f.Volatility == 'i':
		return CategoryPure // PostgreSQL itself calls it whenever it likes
	}
	return CategoryUnknown
}
