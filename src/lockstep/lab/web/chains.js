// One chain as a table, or two side by side; rows that differ are lit.

export default {
  template: `
    <div class="chains">
      <p v-if="why?.chain" class="formula">{{ why.chain }}</p>
      <div v-if="why?.rows.length" class="scroll" tabindex="0" role="region" aria-label="Factors">
        <table>
          <thead><tr><th v-for="h in why.heads" :key="h" scope="col">dJ/d{{ h }}</th><th v-if="pair" scope="col">same or different</th></tr></thead>
          <tbody>
            <tr v-for="(row, n) in why.rows" :key="n" :class="{ differ: row.differ }">
              <td v-for="(c, k) in row.cells" :key="k"><span class="symbol">{{ c[0] }}</span>{{ c[0] ? " = " : "" }}{{ c[1] }}
                <span v-if="c[2]" class="value">= {{ c[2] }}</span></td>
              <td v-if="pair">{{ row.differ ? "differ" : row.why }}</td>
            </tr>
            <tr class="total"><td v-for="(p, k) in why.products" :key="k">product = <span class="value">{{ p }}</span></td><td v-if="pair"></td></tr>
            <tr class="total"><td v-for="(g, k) in why.gradients" :key="k">{{ why.reduction }} = <span class="value" :data-gradient="why.heads[k]">{{ g }}</span></td><td v-if="pair"></td></tr>
          </tbody>
        </table>
      </div>
      <p class="verdict" role="status">{{ why ? why.verdict : "Choose one weight for its gradient, two to compare them." }}</p>
      <p v-for="note in why?.notes ?? []" :key="note" class="note">{{ note }}</p>
    </div>`,
  data() { return { why: null }; },
  methods: { show(why) { this.why = why; } },
  computed: { pair() { return this.why.heads.length === 2; } },
};
