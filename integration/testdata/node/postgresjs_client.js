// Uses postgres.js as an application would: it pipelines and prepares named statements on its own account. Any deviation ends
// it with an error. Arguments: port, database, "session" if a server stays with its client.
'use strict'
const assert = require('node:assert/strict')
const { Readable } = require('node:stream')
const { pipeline } = require('node:stream/promises')
const postgres = require('postgres')

const [port, database, mode] = process.argv.slice(2)
const options = { host: '127.0.0.1', port: Number(port), database, user: 'app', password: 'app', ssl: false, onnotice: () => {} }
const range = (n) => [...Array(n).keys()]

async function main() {
  const sql = postgres({ ...options, max: 20, max_pipeline: 100 })

  // Twenty connections, pipelined, with statements that are prepared under names of the driver's.
  const rows = await Promise.all(range(3000).map((i) => {
    switch (i % 4) {
      case 0: return sql`SELECT ${i}::int AS v`
      case 1: return sql`SELECT ${String(i)}::text::int AS v, 'one' AS kind`
      case 2: return sql.unsafe(`SELECT ${i} AS v`)
      default: return sql`SELECT v FROM generate_series(${i}::int, ${i}::int) v`
    }
  }))
  rows.forEach((r, i) => assert.equal(r[0].v, i))

  await sql`DROP TABLE IF EXISTS postgresjs`
  await sql`CREATE TABLE postgresjs (a int PRIMARY KEY, b text, c jsonb, d timestamptz, e int[])`
  const when = new Date('2024-02-29T12:00:00Z')
  await sql`INSERT INTO postgresjs ${sql(range(500).map((a) => ({ a, b: `b${a}`, c: { a }, d: when, e: [a, a] })))}`
  const [back] = await sql`SELECT * FROM postgresjs WHERE a = ${77}`
  assert.deepEqual({ ...back }, { a: 77, b: 'b77', c: { a: 77 }, d: when, e: [77, 77] })

  // Errors among good statements of a pipeline: each gets its own answer.
  const mixed = await Promise.allSettled(range(600).map((i) => (i % 3 ? sql`SELECT ${i}::int AS v` : sql`SELECT 1 / ${i - i}::int AS v`)))
  mixed.forEach((r, i) => (i % 3 ? assert.equal(r.value[0].v, i) : assert.equal(r.reason.code, '22012')))
  await assert.rejects(sql`INSERT INTO postgresjs (a) VALUES (1)`, { code: '23505', constraint_name: 'postgresjs_pkey', table_name: 'postgresjs' })
  await assert.rejects(sql`SELECT nothing`, { code: '42703', position: '8' })

  // Transactions, some of which fail, on many connections at once.
  const outcome = await Promise.allSettled(range(40).map((i) => sql.begin(async (tx) => {
    await tx`UPDATE postgresjs SET b = ${'tx' + i} WHERE a = ${i}`
    if (i % 2) throw new Error(`no ${i}`)
    await tx.savepoint((s) => s`SELECT 1 / 0`).catch((e) => assert.equal(e.code, '22012'))
    const [[x], [y]] = await Promise.all([tx`SELECT b FROM postgresjs WHERE a = ${i}`, tx`SELECT ${i}::int AS v`])
    assert.deepEqual([x.b, y.v], ['tx' + i, i])
  })))
  outcome.forEach((o, i) => assert.equal(o.status === 'rejected' ? o.reason.message : 'fulfilled', i % 2 ? `no ${i}` : 'fulfilled'))
  assert.equal((await sql`SELECT count(*)::int AS n FROM postgresjs WHERE b LIKE 'tx%'`)[0].n, 20)

  // A cursor outside of an explicit transaction: the driver sends Execute with a limit and Flush.
  let seen = 0
  for await (const chunk of sql`SELECT * FROM generate_series(1, 1000) v`.cursor(100)) {
    assert.equal(chunk[0].v, seen + 1)
    seen += chunk.length
    await sql`SELECT 1` // on some other connection meanwhile
  }
  assert.equal(seen, 1000)
  await sql`SELECT * FROM generate_series(1, 1000) v`.cursor(10, () => sql.CLOSE)

  const into = await sql`COPY postgresjs (a, b) FROM STDIN`.writable()
  await pipeline(Readable.from(range(2000).map((i) => `${i + 1000}\t${'x'.repeat(i % 100)}\n`)), into)
  let bytes = 0
  for await (const chunk of await sql`COPY (SELECT a FROM postgresjs WHERE a >= 1000) TO STDOUT`.readable()) bytes += chunk.length
  assert.equal(bytes, 2000 * 5)

  // Cancel while it runs.
  const long = sql`SELECT pg_sleep(30)`
  const canceled = assert.rejects(long, { code: '57014' })
  long.execute()
  for (;;) if ((await sql`SELECT FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(30)%' AND state = 'active' AND datname = ${database}`).count) break
  long.cancel()
  await canceled

  if (mode === 'session') {
    let hear
    const heard = new Promise((resolve) => { hear = resolve })
    const { unlisten } = await sql.listen('news', hear)
    await sql.notify('news', 'payload')
    assert.equal(await heard, 'payload')
    await unlisten()
  }

  const admin = postgres({ ...options, database: 'pgdrover', user: 'admin', password: 'admin', fetch_types: false, max: 1 })
  assert.ok((await admin`SHOW POOLS`).some((r) => r.database === database))
  assert.equal((await admin`SELECT name FROM databases WHERE name = ${database}`)[0].name, database)
  await admin.end()
  await sql.end()
}

main().catch((e) => { console.error(e); process.exitCode = 1 })
