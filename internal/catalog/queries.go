package catalog

// The queries of a Reading. They run as one string in one transaction. The first statement that names an operator comes behind
// the SET LOCAL of search_path, so that no schema of a user's is looked at for names and operators; pg_temp, which would otherwise be
// looked at first for relations, comes last. The next settings make the texts of expressions and types the same for every role; the
// last are because catalogs are rarely analyzed, and a nested loop over those of thousands of tables takes long.
// What newer versions added to a catalog is read by way of to_jsonb, which gives NULL where the column is missing.
const settings = `SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL client_encoding = 'UTF8'; SET LOCAL quote_all_identifiers = off;
SET LOCAL datestyle = 'ISO'; SET LOCAL intervalstyle = 'postgres'; SET LOCAL extra_float_digits = 1; SET LOCAL bytea_output = 'hex';
SET LOCAL work_mem = '64MB'; SET LOCAL enable_nestloop = off; SET LOCAL jit = off;
`

// userSchemas is a CTE of the schemas that are not PostgreSQL's own, for queries that leave out the others.
const userSchemas = `WITH s AS MATERIALIZED (
SELECT oid, nspname FROM pg_namespace WHERE nspname <> 'information_schema' AND nspname NOT LIKE 'pg\_%')
`

const queryDatabase = `SELECT current_setting('server_version_num'), current_setting('server_encoding'), s.reset_val, s.boot_val, s.source,
d.datcollate, d.datctype, to_jsonb(d) ->> 'datlocprovider', coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale'),
to_jsonb(d) ->> 'datcollversion'
FROM pg_database d, pg_settings s WHERE d.datname = current_database() AND s.name = 'search_path'`

// A role's own setting wins over the database's, and the two together over each; the order of rows is from weak to strong.
const queryRolePaths = `SELECT coalesce(r.rolname, ''), c FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole, unnest(s.setconfig) c
WHERE (s.setdatabase = 0 OR s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database()))
AND c LIKE 'search\_path=%' AND (s.setrole = 0 OR r.oid IS NOT NULL)
ORDER BY s.setrole <> 0, s.setdatabase <> 0`

const querySchemas = `SELECT oid, nspname FROM pg_namespace WHERE nspname NOT LIKE 'pg\_toast%' AND nspname NOT LIKE 'pg\_temp\_%'`

// Row types of tables, and arrays of them, are listed only where a column has them: they are most of the types of a large schema.
const queryTypes = `SELECT t.oid, t.typnamespace, t.typname, t.typtype, t.typbasetype, CASE WHEN t.typcategory = 'A' THEN t.typelem ELSE 0 END,
t.typarray, t.typcategory, coalesce(pg_get_expr(t.typdefaultbin, 0), t.typdefault), t.typdefaultbin::text
FROM pg_type t LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'
LEFT JOIN pg_class c ON c.oid = coalesce(nullif(t.typrelid, 0), e.typrelid)
WHERE c.oid IS NULL OR c.relkind = 'c' OR t.oid IN (SELECT atttypid FROM pg_attribute WHERE attrelid >= 16384)`

const queryEnums = `SELECT enumtypid, enumlabel FROM pg_enum ORDER BY enumtypid, enumsortorder`

const queryDomainChecks = `SELECT contypid, conbin::text FROM pg_constraint WHERE contypid <> 0 AND contype = 'c'`

const queryFunctions = `SELECT p.oid, p.pronamespace, p.proname, p.proargtypes, p.pronargdefaults, p.provariadic <> 0, p.prorettype, p.proretset, p.prokind,
p.provolatile, l.lanname, e.extname
FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
LEFT JOIN pg_depend d ON p.oid >= 16384 AND d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
LEFT JOIN pg_extension e ON e.oid = d.refobjid
WHERE p.pronamespace <> (SELECT oid FROM pg_namespace WHERE nspname = 'information_schema')`

const queryOperators = `SELECT o.oid, o.oprnamespace, o.oprname, o.oprleft, o.oprright, o.oprresult, o.oprcode::oid,
o.oprnamespace <> 'pg_catalog'::regnamespace OR o.oid >= 16384
FROM pg_operator o WHERE o.oprnamespace <> 'pg_catalog'::regnamespace OR o.oid >= 16384
OR o.oid IN (SELECT unnest(conexclop) FROM pg_constraint WHERE contype = 'x')`

const queryCasts = `SELECT castsource, casttarget, castfunc, castcontext FROM pg_cast WHERE oid >= 16384`

const queryCollations = `SELECT oid, collnamespace, collname, collprovider, collisdeterministic FROM pg_collation
WHERE NOT collisdeterministic OR oid IN (SELECT attcollation FROM pg_attribute WHERE attrelid >= 16384)`

const queryRelations = `SELECT c.oid, c.relnamespace, c.relname, c.relkind, c.relpersistence, pg_get_userbyid(c.relowner), c.relrowsecurity,
CASE WHEN c.relkind IN ('v', 'm') AND c.oid >= 16384 THEN pg_get_viewdef(c.oid) END,
CASE WHEN c.relkind = 'p' THEN pg_get_partkeydef(c.oid) END
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'c') AND n.nspname NOT LIKE 'pg\_toast%' AND n.nspname NOT LIKE 'pg\_temp\_%'`

const queryColumns = userSchemas + `SELECT a.attrelid, a.attnum, a.attname, a.atttypid, a.atttypmod, a.attnotnull, a.attidentity, a.attgenerated, a.attcollation,
format_type(a.atttypid, a.atttypmod), pg_get_expr(d.adbin, d.adrelid), d.adbin::text
FROM s JOIN pg_class c ON c.relnamespace = s.oid AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c')
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef d ON a.atthasdef AND d.adrelid = a.attrelid AND d.adnum = a.attnum
ORDER BY a.attrelid, a.attnum`

const queryInherits = `SELECT inhrelid, inhparent FROM pg_inherits ORDER BY inhparent, inhseqno, inhrelid`

const queryTriggers = `SELECT tgrelid, tgname, tgfoid, tgenabled FROM pg_trigger WHERE NOT tgisinternal ORDER BY tgrelid, tgname`

const queryRules = `SELECT ev_class, rulename FROM pg_rewrite WHERE oid >= 16384 AND rulename <> '_RETURN' ORDER BY ev_class, rulename`

// Foreign keys to a partitioned table have further rows for each of its partitions; their parent row says it all.
const queryConstraints = `SELECT k.conrelid, k.conname, k.contype, k.conkey, k.condeferrable, k.confrelid, k.confkey, k.confdeltype, k.confupdtype,
CASE WHEN k.confdeltype IN ('n', 'd') THEN to_jsonb(k) ->> 'confdelsetcols' END, k.conbin::text
FROM pg_constraint k WHERE k.contype IN ('f', 'c') AND k.conrelid >= 16384
AND (k.conparentid = 0 OR NOT EXISTS (SELECT FROM pg_constraint p WHERE p.oid = k.conparentid AND p.conrelid = k.conrelid))
ORDER BY k.conrelid, k.conname`

// queryIndexTables lists all indexes, queryIndexes those that make something unique or exclude it.
const queryIndexTables = `SELECT c.relnamespace, c.relname, i.indrelid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid >= 16384`

const queryIndexes = `SELECT i.indrelid, coalesce(k.conname, c.relname), coalesce(k.contype, 'i'), i.indkey, i.indnkeyatts,
i.indexprs IS NULL AND i.indpred IS NULL AND i.indisvalid, i.indcollation, k.conexclop, NOT i.indimmediate
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid AND k.conrelid = i.indrelid AND k.contype IN ('p', 'u', 'x')
WHERE i.indrelid >= 16384 AND (i.indisunique OR i.indisexclusion) AND i.indislive
ORDER BY i.indrelid, c.relname`
