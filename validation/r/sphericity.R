# Greenhouse and Geisser's epsilon by car, and the covariance of mlm's residuals.
# Run in this folder: Rscript sphericity.R
suppressPackageStartupMessages(library(car))
options(digits = 15)

# McCarthy scores of 12 children at 30, 36, 42 and 48 months (Maxwell & Delaney 1990, table 11.5)
mccarthy <- matrix(c(
  108, 96, 110, 122,  103, 117, 127, 133,  96, 107, 106, 107,  84, 85, 92, 99,
  118, 125, 125, 116,  110, 107, 96, 91,  129, 128, 123, 128,  90, 84, 101, 113,
  84, 104, 100, 88,  96, 100, 103, 105,  105, 114, 105, 112,  113, 117, 132, 130
), ncol = 4, byrow = TRUE, dimnames = list(NULL, paste0("m", c(30, 36, 42, 48))))
children <- data.frame(group = rep(c("a", "b"), c(5, 7)), age = c(8, 3, 5, 9, 4, 7, 2, 6, 1, 5, 3, 8))

epsilon <- function(question, formula) {
  model <- lm(update(formula, mccarthy ~ .), data = children)
  inside <- data.frame(month = factor(colnames(mccarthy)))
  told <- summary(Anova(model, idata = inside, idesign = ~month, type = 3), multivariate = FALSE)
  covariance <- crossprod(residuals(model)) / model$df.residual
  data.frame(
    question = question, epsilon = unname(told$pval.adjustments["month", "GG eps"]), dof = model$df.residual,
    t(setNames(as.vector(covariance), paste0("s", rep(1:4, 4), rep(1:4, each = 4))))
  )
}

answers <- rbind(epsilon("~ 1", ~1), epsilon("~ group", ~group), epsilon("~ group * age", ~ group * age))
write.csv(answers, "sphericity.csv", row.names = FALSE)
write.csv(cbind(children, mccarthy), "sphericity_rows.csv", row.names = FALSE)
